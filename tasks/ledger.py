"""A run in the ledger: begun, ended in whatever way, and never left running by a process that is gone."""

from __future__ import annotations

import subprocess
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
from db.ledger import Counts
from tasks.errors import safe_form
from tasks.settings import Settings
from tasks.step import prefect_run_id

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
    around = _around.get()
    with ExitStack() as held:
        if exclusive is not None:
            held.enter_context(lock.exclusive(engine, exclusive))
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
        _mark_crashed(engine, besides=run.id)
        token = _around.set(run)
        try:
            yield run
        except BaseException as error:
            _end_failed(engine, run.id, error)
            raise
        finally:
            _around.reset(token)
        with writing(engine) as c:
            ledger.end_run(c, run.id, "completed", now=datetime.now(UTC))


@cache
def code_revision() -> str:
    """The git commit this runs from, else the package's version."""
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(asked, capture_output=True, check=True, text=True, timeout=10).stdout.strip()
    return version("laudos")


def _end_failed(engine: Engine, run_id: int, error: BaseException) -> None:
    told = str(safe_form(error)) if isinstance(error, Exception) else "stopped from outside"
    # a database that is away cannot be told; the next run finds this one gone and says so
    with suppress(DatabaseFailure), writing(engine) as c:
        failure = f"{type(error).__name__}: {told}"
        ledger.end_run(c, run_id, "failed", failure=failure, now=datetime.now(UTC))


def _mark_crashed(engine: Engine, *, besides: int) -> None:
    with writing(engine) as c:
        others = ledger.running(c, besides=besides)
        gone = [run_id for run_id in others if lock.is_free(engine, ledger.life_of(run_id))]
        ledger.mark_crashed(c, gone, datetime.now(UTC))
