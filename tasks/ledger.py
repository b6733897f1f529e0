"""A run in the ledger: begun, ended in whatever way, and never left running by a process that is gone."""

from __future__ import annotations

import subprocess
import traceback
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Engine

from db import ledger, lock
from db.engine import writing
from db.errors import DatabaseFailure
from db.ledger import Counts, EndState
from tasks.errors import safe_form
from tasks.settings.settings import Settings
from tasks.step import prefect_run_id
from tasks.stopping import signals_held

__all__ = ["Counts", "RunRef", "code_revision", "recorded_run"]


@dataclass(frozen=True)
class RunRef:
    """A run under way."""

    id: int


# the run around this one: what nightly starts becomes its child
_around: ContextVar[RunRef | None] = ContextVar("laudos_run", default=None)


@contextmanager
def recorded_run(
    engine: Engine, settings: Settings, kind: str, *, exclusive: str | None = None
) -> Iterator[RunRef]:
    """Write the run's row, and its end: completed, or failed with the error's type and place.

    `exclusive` names what only one run may do at a time, such as "model" or "ingest"; raises Busy where
    another does. Runs whose process died are marked crashed on the way.
    """
    run: RunRef | None = None
    with ExitStack() as held:
        if exclusive is not None:
            held.enter_context(lock.exclusive(engine, exclusive))
        try:
            with signals_held():  # from its row on a run is ended by what stops it
                run = _begin(engine, settings, kind, held)
            _mark_crashed(engine, besides=run.id)
            yield run
            with signals_held():
                _end(engine, run, "completed")
        except BaseException as error:
            # a database that is away cannot be told; the next run finds this one gone and says so
            with signals_held(), suppress(DatabaseFailure), lock.regardless():
                # a signal may have met a transaction where nobody was to close it yet
                traceback.clear_frames(error.__traceback__)
                if run is not None:
                    _end(engine, run, "failed", _told(error))
            raise


@cache
def code_revision() -> str:
    """The git commit this runs from, else the package's version."""
    with suppress(OSError, subprocess.SubprocessError):
        # laudos may be installed inside of a tree that is not its own, whose commit says nothing of it
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "HEAD")
    return version("laudos")


def _git(*asked: str) -> str:
    told = ["git", "-C", str(Path(__file__).parent), *asked]
    return subprocess.run(told, capture_output=True, check=True, text=True, timeout=10).stdout.strip()


def _begin(engine: Engine, settings: Settings, kind: str, held: ExitStack) -> RunRef:
    around = _around.get()
    with writing(engine) as c:
        run = RunRef(
            ledger.begin_run(
                c,
                kind,
                code_revision=code_revision(),
                config_sha=settings.sha(),
                prefect_run_id=prefect_run_id(),
                parent_id=around.id if around else None,
                now=datetime.now(UTC),
            )
        )
        # held before the row can be seen: whoever sees it running can tell whether we live
        held.enter_context(lock.exclusive(engine, ledger.life_of(run.id)))
    held.callback(_around.reset, _around.set(run))
    return run


def _end(engine: Engine, run: RunRef, state: EndState, failure: str | None = None) -> None:
    with writing(engine) as c:
        ledger.end_run(c, run.id, state, failure=failure, now=datetime.now(UTC))


def _told(error: BaseException) -> str:
    told = safe_form(error) if isinstance(error, Exception) else "stopped from outside"
    # so Prefect ends a run, which alone knows whether a person wanted that
    why = "; Prefect's log of the run may say why" if isinstance(error, CancelledError) else ""
    return f"{type(error).__name__}: {told}{why}"


def _mark_crashed(engine: Engine, *, besides: int) -> None:
    with writing(engine) as c:
        others = ledger.running(c, besides=besides)
        gone = [run_id for run_id in others if lock.is_free(engine, ledger.life_of(run_id))]
        ledger.mark_crashed(c, gone, datetime.now(UTC))
