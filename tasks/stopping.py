"""A signal that asks laudos to stop, remembered until it is obeyed.

Python raises it as an exception wherever the program happens to be, and Prefect drops any exception that
finds a flow or task in its final state: with its heartbeat thread to wait for, that is up to a second after
each flow. So every flow and step asks here, at both its ends, whether a signal came and was dropped.
The few lines that must not be broken off half-way hold signals back until they are through.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

_RAISED_BY: Mapping[type[BaseException], int] = {
    KeyboardInterrupt: signal.SIGINT,
    SystemExit: signal.SIGTERM,
}
_asked: list[int] = []  # the signals that came, oldest first; the process ends by the first


def stop_on_signals() -> None:
    """Ctrl-C and SIGTERM end the program wherever they find it, Prefect's temporary server with it."""
    _asked.clear()
    for number in _RAISED_BY.values():
        signal.signal(number, _ask)
    sys.unraisablehook = deliver_again


def heed_stop() -> None:
    """Raise again what a signal raised, where one came: KeyboardInterrupt, or SystemExit for SIGTERM."""
    if _asked:
        raise _exception(_asked[0])


@contextmanager
def signals_held() -> Iterator[None]:
    """Lines that are not broken off: a signal that comes meanwhile is raised at their end.

    Whoever asks a third time is obeyed at once: a database that is away may keep these lines for minutes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are raised in the main thread only
        return
    handlers = {number: signal.getsignal(number) for number in _RAISED_BY.values()}
    came: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) > 2:
            raise _exception(number)

    for number in handlers:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def deliver_again(lost: sys.UnraisableHookArgs) -> None:
    """A signal that met a finalizer, where Python drops every exception, comes again a moment later."""
    number = _RAISED_BY.get(lost.exc_type)
    if number is None:
        sys.__unraisablehook__(lost)
    else:
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()


def _ask(number: int, _: FrameType | None) -> None:
    _asked.append(number)
    raise _exception(number)


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
