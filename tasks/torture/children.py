"""The processes of a scenario: started in milliseconds, with protections switched off where asked, killed.

They are forked from a server process that has imported everything once; it is started with the first.
"""

from __future__ import annotations

import functools
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tasks.errors import safe_form
from tasks.settings.settings import Settings, heeding_only

# work(settings, tell, *arguments): `tell` sends the parent whatever it wants to know
Work = Callable[..., None]
PATIENCE_S = 600.0  # for an ingest of thousands of small pages on a busy machine


@dataclass(frozen=True)
class Ended:
    """How a process ended by itself: well, or with an error's type and its safe message."""

    error: str | None = None
    message: str = ""


class Child:
    """A process under way."""

    def __init__(self, process: BaseProcess, hear: Connection) -> None:
        self._process = process
        self._hear = hear
        self.told: list[Any] = []  # what it has said so far
        self.ended: Ended | None = None

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def hear(self, timeout_s: float = PATIENCE_S) -> Any:
        """The next thing it says; None once it has ended, or where it is silent for so long."""
        try:
            if not self._hear.poll(timeout_s):
                return None
            said = self._hear.recv()
        except (EOFError, OSError):
            return None
        if isinstance(said, Ended):
            self.ended = said
            return None
        self.told.append(said)
        return said

    def kill(self) -> bool:
        """SIGKILL, at once; whether it was that which ended it."""
        self._process.kill()
        self.join()
        return self._process.exitcode == -signal.SIGKILL

    def join(self, timeout_s: float = PATIENCE_S) -> Ended | None:
        """Wait for its end. None where it was killed, or had to be after so long."""
        if self._hear.closed:
            return self.ended
        deadline = time.monotonic() + timeout_s
        while self.hear(max(0.0, deadline - time.monotonic())) is not None:
            pass
        self._process.join(max(0.1, deadline - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
            self.ended = Ended("TimeoutError", f"it had to be killed after {timeout_s:.0f} s")
        self._hear.close()
        return self.ended


def start(
    config: Path, work: Work, arguments: Sequence[Any], switched_off: Sequence[Callable[[], None]]
) -> Child:
    """Start `work` in a process of its own, on the configuration of a scratch database."""
    context = _server()
    hear, tell = context.Pipe(duplex=False)
    process = context.Process(
        target=_enter, args=(str(config), tuple(switched_off), tell, work, tuple(arguments)), daemon=True
    )
    process.start()
    tell.close()
    return Child(process, hear)


@functools.cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "tasks.torture.registry"])
    return context


def _enter(
    config: str,
    switched_off: tuple[Callable[[], None], ...],
    tell: Connection,
    work: Work,
    arguments: tuple[Any, ...],
) -> None:
    # Ctrl-C goes to the parent, which ends its children itself, in silence
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with heeding_only(Path(config)):
        ended = Ended()
        try:
            for switch_off in switched_off:
                switch_off()
            work(Settings.load(), tell, *arguments)
        except Exception as error:
            safe = safe_form(error)
            ended = Ended(type(safe).__name__, str(safe))
        tell.send(ended)
