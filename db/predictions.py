"""Predictions: written in bulk by a finished chunk, read as counts and for export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from math import isfinite
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, Select, case, func, select, text

from db.quarantine import other_content_waits
from db.reports import CURRENT, PRESENT
from db.tables import as_stored, prediction, report, report_version, source

EXPORT_ROWS = 10_000


@dataclass(frozen=True)
class Scored:
    """A prediction ready to be written. `probabilities`: label -> calibrated probability.

    `backend`: what computed it, where that is not what computed the rest of its chunk.
    """

    report_version_id: int
    label: str
    probabilities: dict[str, float]
    decision: Literal["auto", "review"]
    tokens_seen: int
    tokens_total: int
    review_because: Literal["unsure", "unfamiliar", "shifted"] | None = None
    backend: str | None = None


@dataclass(frozen=True)
class Exported:
    """A prediction with the ids that find its report again; never its text or patient."""

    source: str
    external_id: str
    version: int
    report_date: date | None
    label: str
    probabilities: dict[str, float]
    decision: str
    tokens_seen: int
    tokens_total: int
    model_id: int
    at: datetime
    review_because: str | None
    content_in_quarantine: bool


@dataclass(frozen=True)
class Said:
    """What a model said of a report version, withheld or not (MODELS_DECISION), and what computed it."""

    report_version_id: int
    label: str
    decision: str
    backend: str


# what the model itself decided: to hold one against another. A sure answer that was withheld for the job's
# population alone was auto
MODELS_DECISION = case((prediction.c.review_because == "shifted", "auto"), else_=prediction.c.decision)

# PostgreSQL: one statement with arrays, several times faster than executemany
_UNNEST = text(
    """
    INSERT INTO prediction (model_id, report_version_id, label, probabilities, decision,
                            tokens_seen, tokens_total, backend, job_id, chunk_seq, fence, at,
                            review_because)
    SELECT :model_id, version_id, label, probabilities, decision, seen, total,
           computed_by, :job_id, :chunk_seq, :fence, :at, because
    FROM unnest(CAST(:versions AS bigint[]), CAST(:labels AS text[]), CAST(:probabilities AS json[]),
                CAST(:decisions AS text[]), CAST(:seen AS integer[]), CAST(:total AS integer[]),
                CAST(:because AS text[]), CAST(:backends AS text[]))
         AS scored (version_id, label, probabilities, decision, seen, total, because, computed_by)
    """
)

# SQLite: plain tuples straight to the driver, without a statement's own binding
_VALUES = """
    INSERT INTO prediction (model_id, report_version_id, label, probabilities, decision,
                            tokens_seen, tokens_total, backend, job_id, chunk_seq, fence, at,
                            review_because)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    """


def add(
    c: Connection,
    scored: Sequence[Scored],
    *,
    model_id: int,
    backend: str,
    job_id: int,
    chunk_seq: int,
    fence: int,
    now: datetime,
) -> None:
    """Write a chunk's predictions; only `db.scoring.finish`, which checks the fence, may call this."""
    if not scored:
        return
    probabilities = as_json([one.probabilities for one in scored])
    if c.dialect.name == "postgresql":
        columns = {
            "versions": [one.report_version_id for one in scored],
            "labels": [one.label for one in scored],
            "probabilities": probabilities,
            "decisions": [one.decision for one in scored],
            "seen": [one.tokens_seen for one in scored],
            "total": [one.tokens_total for one in scored],
            "because": [one.review_because for one in scored],
            "backends": [one.backend or backend for one in scored],
        }
        lease = {"job_id": job_id, "chunk_seq": chunk_seq, "fence": fence}
        c.execute(_UNNEST, {"model_id": model_id, "at": now, **lease, **columns})
        return
    at = as_stored(now, c.dialect)
    rows = [
        (model_id, one.report_version_id, one.label, written, one.decision, one.tokens_seen, one.tokens_total,
         one.backend or backend, job_id, chunk_seq, fence, at, one.review_because)
        for one, written in zip(scored, probabilities, strict=True)
    ]  # fmt: skip
    c.exec_driver_sql(_VALUES, rows)


def as_json(probabilities: Sequence[dict[str, float]]) -> list[str]:
    """Each as JSON. Raises ValueError for a number that JSON cannot hold; orjson would write null."""
    if not isfinite(sum(chain.from_iterable(one.values() for one in probabilities))):
        raise ValueError("a probability that is no finite number")
    return [orjson.dumps(one).decode() for one in probabilities]


def counts(c: Connection, model_id: int) -> dict[tuple[str, str], int]:
    """(label, decision) -> current reports, neither deleted nor erased, that the model said so of."""
    query = (
        select(prediction.c.label, prediction.c.decision, func.count())
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(prediction.c.model_id == model_id, CURRENT, PRESENT)
        .group_by(prediction.c.label, prediction.c.decision)
    )
    return {(label, decision): n for label, decision, n in c.execute(query)}


def sample(c: Connection, model_id: int, since: datetime, most: int) -> list[Said]:
    """So many of a model's predictions since a moment, drawn by chance, of texts that are still there."""
    query = (
        select(prediction.c.report_version_id, prediction.c.label, MODELS_DECISION, prediction.c.backend)
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .where(
            prediction.c.model_id == model_id, prediction.c.at >= since, report_version.c.text.is_not(None)
        )
        .order_by(func.random())
        .limit(most)
    )
    return [Said(*row) for row in c.execute(query)]


def export(c: Connection, model_id: int) -> Iterator[list[Exported]]:
    """The model's predictions of current reports in the order they came in, a page at a time."""
    query: Select[Any] = (
        select(
            source.c.name,
            report.c.external_id,
            report_version.c.version,
            report_version.c.report_date,
            prediction.c.label,
            prediction.c.probabilities,
            prediction.c.decision,
            prediction.c.tokens_seen,
            prediction.c.tokens_total,
            prediction.c.model_id,
            prediction.c.at,
            prediction.c.review_because,
            other_content_waits(),
        )
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .where(prediction.c.model_id == model_id, CURRENT, PRESENT)
        .order_by(prediction.c.report_version_id)
        .execution_options(yield_per=EXPORT_ROWS)
    )
    for page in c.execute(query).partitions():
        yield [Exported(*row) for row in page]
