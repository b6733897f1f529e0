"""The ledger: one row a run, one row a committed batch, and no row of a source unaccounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from db.tables import run, run_batch

EndState = Literal["completed", "failed", "crashed"]


@dataclass(frozen=True)
class Counts:
    """What became of the rows read: read = new + updated + unchanged + quarantined."""

    read: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.read + other.read,
            self.new + other.new,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.quarantined + other.quarantined,
        )


def begin_run(
    c: Connection,
    kind: str,
    *,
    code_revision: str,
    config_sha: str,
    prefect_run_id: str | None,
    parent_id: int | None,
    now: datetime,
) -> int:
    """Write a running run and return its number."""
    statement = insert(run).values(
        kind=kind,
        state="running",
        code_revision=code_revision,
        config_sha=config_sha,
        prefect_run_id=prefect_run_id,
        parent_id=parent_id,
        started_at=now,
    )
    return int(c.execute(statement.returning(run.c.id)).scalar_one())


def end_run(
    c: Connection, run_id: int, state: EndState, *, failure: str | None = None, now: datetime
) -> None:
    """Close a run that is open. `failure` is the type and place of what ended it, never report text.

    Also one that was marked as crashed: its process lives, as whoever ends it shows.
    """
    values = {"state": state, "ended_at": _end(c, now), "failure": failure}
    c.execute(update(run).where(run.c.id == run_id, run.c.state.in_(["running", "crashed"])).values(values))


def code_revision_of(c: Connection, run_id: int) -> str:
    """The revision of the code that ran it."""
    return str(c.scalar(select(run.c.code_revision).where(run.c.id == run_id)))


def made_by(c: Connection, run_id: int) -> tuple[str, str]:
    """The revision of the code that ran it, and the sha of its settings."""
    row = c.execute(select(run.c.code_revision, run.c.config_sha).where(run.c.id == run_id)).one()
    return row.code_revision, row.config_sha


def running(c: Connection, *, besides: int | None = None) -> list[int]:
    """The runs that say they are running, but for one."""
    query = select(run.c.id).where(run.c.state == "running").order_by(run.c.id)
    if besides is not None:
        query = query.where(run.c.id != besides)
    return list(c.scalars(query))


def was_under_way(c: Connection, run_id: int, at: datetime) -> bool:
    """Whether there is such a run, and it had begun and not ended at that moment."""
    found = c.execute(select(run.c.started_at, run.c.ended_at).where(run.c.id == run_id)).one_or_none()
    return found is not None and found.started_at <= at and (found.ended_at is None or at <= found.ended_at)


def life_of(run_id: int) -> str:
    """The lock that a run holds as long as its process lives."""
    return f"run-{run_id}"


def mark_crashed(c: Connection, run_ids: Sequence[int], now: datetime) -> None:
    """Close runs whose process is gone without a word."""
    if run_ids:
        c.execute(
            update(run)
            .where(run.c.id.in_(run_ids), run.c.state == "running")
            .values(state="crashed", ended_at=_end(c, now), failure="its process ended without a word")
        )


def _end(c: Connection, now: datetime) -> ColumnElement[datetime]:
    """A run's end: a clock that jumped back must not end it before it began."""
    later = func.max if c.dialect.name == "sqlite" else func.greatest
    return later(now, run.c.started_at)


def add_batch(c: Connection, run_id: int, source_id: int, counts: Counts, now: datetime) -> None:
    """Enter a batch and add it to its run, in the transaction that writes the batch's rows."""
    share = {
        "read": counts.read,
        "new": counts.new,
        "updated": counts.updated,
        "unchanged": counts.unchanged,
        "quarantined": counts.quarantined,
    }
    sums = {name: run.c[name] + value for name, value in share.items()}
    # the run's row first: its lock makes the numbers of the batches come one after the other
    c.execute(update(run).where(run.c.id == run_id).values(**sums))
    last = c.scalar(select(func.max(run_batch.c.seq)).where(run_batch.c.run_id == run_id)) or 0
    c.execute(insert(run_batch).values(run_id=run_id, seq=last + 1, source_id=source_id, at=now, **share))


def counts_of(c: Connection, run_id: int) -> Counts:
    """A run's sums so far."""
    query = select(run.c.read, run.c.new, run.c.updated, run.c.unchanged, run.c.quarantined)
    return Counts(*c.execute(query.where(run.c.id == run_id)).one())


def counts_of_source(c: Connection, run_id: int, source_id: int) -> Counts:
    """A run's sums over the batches of one source."""
    b = run_batch.c
    sums = [
        func.coalesce(func.sum(column), 0)
        for column in (b.read, b.new, b.updated, b.unchanged, b.quarantined)
    ]
    return Counts(*c.execute(select(*sums).where(b.run_id == run_id, b.source_id == source_id)).one())
