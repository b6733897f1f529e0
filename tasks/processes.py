"""A process of its own that does a part of a night's work: it stops and fails as the command does."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from tasks.errors import safe_form
from tasks.stopping import stop_on_signals


def as_a_process(work: Callable[[], None]) -> None:
    """Do it; SIGTERM ends it wherever it finds it, what it holds given back, and an error is one line.

    Who started it waits for its end: a signal that a finalizer dropped would have it wait for all the work.
    """
    stop_on_signals()
    try:
        work()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)  # who started it was interrupted, too, and says so
    except Exception as error:
        told = safe_form(error)
        print(f"laudos: {told}", file=sys.stderr)
        sys.exit(told.exit_code)
