"""What a backlog holds before it is scored: counts, a sample of what must be encoded, and a rehearsal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Subquery, exists, func, insert, select

from db import backlog, features, reports, scoring
from db.cutting import Level, seq_of
from db.features import Feature
from db.predictions import Scored
from db.tables import feature, report_version, score_chunk, score_job

# of a job that is never committed: no sequence hands it out
_REHEARSED = -1


@dataclass(frozen=True)
class Backlog:
    """What waits for one model, as `backlog.cut` would cut it. Empty `encoder_sha`: no vector is kept."""

    model_id: int
    encoder_sha: str
    sources: Sequence[str] | None
    reports: int
    chunks: tuple[Level, ...]


@dataclass(frozen=True)
class Waiting:
    """`reports` wait; `known` have a stored vector; `texts` must be encoded.

    The others have the very text of one of these in their own chunk.
    """

    reports: int
    known: int
    texts: int


def waiting(c: Connection, asked: Backlog) -> Waiting:
    """Counted in one pass over what waits; no text is read."""
    cut = _cut(asked)
    of_text = select(func.count().label("reports"), cut.c.known).group_by(*_same_text(cut)).subquery()
    query = select(
        func.coalesce(func.sum(of_text.c.reports), 0),
        func.coalesce(func.sum(of_text.c.reports).filter(of_text.c.known), 0),
        func.count().filter(~of_text.c.known),
    )
    return Waiting(*(int(value) for value in c.execute(query).one()))


def sample(c: Connection, asked: Backlog, texts: int, at_most: int) -> dict[int, int]:
    """Evenly over the `texts` that must be encoded: version id -> characters, at most `at_most`."""
    cut = _cut(asked)
    first = select(func.min(cut.c.id).label("id")).where(~cut.c.known).group_by(*_same_text(cut)).subquery()
    numbered = select(first.c.id, func.row_number().over(order_by=first.c.id).label("n")).subquery()
    step = max(1, -(-texts // at_most))
    query = (
        select(report_version.c.id, func.length(report_version.c.text).label("characters"))
        .join(numbered, numbered.c.id == report_version.c.id)
        .where(numbered.c.n % step == step // 2)
    )
    return {row.id: row.characters for row in c.execute(query)}


def texts(c: Connection, version_ids: Sequence[int]) -> list[str]:
    """The texts of a few versions, in their order; one that was erased meanwhile is empty."""
    found = reports.texts(c, version_ids)
    return [found.get(version, "") for version in version_ids]


def large_chunk(c: Connection, asked: Backlog) -> tuple[int, int] | None:
    """The ends of one of the largest chunks, both included: two version ids. None where nothing waits."""
    if not asked.chunks:
        return None
    cut = _cut(asked)
    middle = (asked.chunks[0].chunks + 1) // 2
    ends = select(func.min(cut.c.id), func.max(cut.c.id)).where(cut.c.seq == middle)
    first, last = c.execute(ends).one()
    # on PostgreSQL it may have been scored since it was counted
    return None if first is None else (int(first), int(last))


def rehearse(
    c: Connection,
    asked: Backlog,
    classifier: str,
    run_id: int,
    predictions: Sequence[Scored],
    fresh: Sequence[Feature],
    now: datetime,
) -> None:
    """Write a chunk exactly as a worker ends one. Only inside `engine.rehearsing`: none of it may stay."""
    job = {"classifier": classifier, "model_id": asked.model_id, "reports": len(predictions)}
    c.execute(insert(score_job).values(id=_REHEARSED, **job, run_id=run_id, created_at=now))
    ends = {"first_version_id": 0, "last_version_id": 0, "reports": len(predictions)}
    c.execute(insert(score_chunk).values(job_id=_REHEARSED, seq=1, **ends))
    chunk = scoring.claim(c, _REHEARSED, "rehearsal", timedelta(minutes=1), now)
    assert chunk is not None
    scoring.finish(c, chunk, predictions, encoded=len(fresh), backend="rehearsal", now=now)
    if asked.encoder_sha:
        features.put(c, asked.encoder_sha, fresh, now)


def _cut(asked: Backlog) -> Subquery:
    """Every waiting version with its chunk, its text's sha, and whether its vector is stored."""
    known = exists().where(
        feature.c.encoder_sha == asked.encoder_sha,
        feature.c.report_version_id == report_version.c.id,
        feature.c.sketch.is_not(None),
    )
    numbered = (
        backlog.waiting(asked.model_id, asked.sources)
        .with_only_columns(
            *(report_version.c[name] for name in ("id", "raw_sha", "cleaning_revision")),
            known.label("known"),
            func.row_number().over(order_by=report_version.c.id).label("number"),
        )
        .subquery()
    )
    seq = seq_of(numbered.c.number, asked.chunks).label("seq")
    # what came in since it was counted is in no chunk
    return select(numbered, seq).where(numbered.c.number <= asked.reports).subquery()


def _same_text(cut: Subquery) -> tuple[ColumnElement[Any], ...]:
    """What reports have in common that a worker encodes once."""
    return cut.c.seq, cut.c.known, cut.c.raw_sha, cut.c.cleaning_revision
