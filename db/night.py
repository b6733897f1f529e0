"""What one nightly run did, counted from the rows it and its children wrote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from db.tables import run, run_batch, score_chunk, score_job, shift_test, source


@dataclass(frozen=True)
class RunTimes:
    run_id: int
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Read:
    """What a source brought in these runs: read = new + updated + unchanged + quarantined."""

    source: str
    kind: str
    read: int
    new: int
    updated: int
    unchanged: int
    quarantined: int


@dataclass(frozen=True)
class Scored:
    """Chunks finished since: reports that went through the encoder, and predictions written.

    `shifted` jobs of them had reports of another population (db/shift.py).
    """

    classifier: str
    model_id: int
    encoded: int
    written: int
    shifted: int = 0


def last_nightly(c: Connection) -> RunTimes | None:
    """The nightly run begun last, whatever became of it."""
    query = select(run.c.id, run.c.started_at, run.c.ended_at).where(run.c.kind == "nightly")
    found = c.execute(query.order_by(run.c.id.desc()).limit(1)).one_or_none()
    return RunTimes(*found) if found else None


def read_by(c: Connection, run_id: int) -> list[Read]:
    """What the children of a run read, hospital sources first."""
    names = ("read", "new", "updated", "unchanged", "quarantined")
    sums = [func.sum(run_batch.c[name]) for name in names]
    query = (
        select(source.c.name, source.c.kind, *sums)
        .join(run_batch, run_batch.c.source_id == source.c.id)
        .join(run, run.c.id == run_batch.c.run_id)
        .where((run.c.parent_id == run_id) | (run.c.id == run_id))
        .group_by(source.c.name, source.c.kind)
        .order_by(source.c.kind, source.c.name)
    )
    return [Read(*row) for row in c.execute(query)]


def scored_since(c: Connection, since: datetime) -> list[Scored]:
    """What was scored since a moment, by classifier and model."""
    sums = [func.coalesce(func.sum(score_chunk.c[name]), 0) for name in ("encoded", "written")]
    shifted = func.count(case((shift_test.c.state == "shifted", shift_test.c.job_id)).distinct())
    query: Select[Any] = (
        select(score_job.c.classifier, score_job.c.model_id, *sums, shifted)
        .join(score_chunk, score_chunk.c.job_id == score_job.c.id)
        .outerjoin(shift_test, shift_test.c.job_id == score_job.c.id)
        .where(score_chunk.c.done_at >= since)
        .group_by(score_job.c.classifier, score_job.c.model_id)
        .order_by(score_job.c.classifier, score_job.c.model_id)
    )
    return [Scored(*row) for row in c.execute(query)]
