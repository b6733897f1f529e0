"""What a scratch world's predictions come to: asked by torture, on its own words and not the doctor's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, select, update

from db.quarantine import SCORING_FAILED
from db.scoring import UNFINISHED, Chunk
from db.tables import prediction, quarantine, report, report_version, score_chunk, score_job

PAGE = 2_000
# what a connection says in a transaction of each kind that writes, and in no other of that command
MARKS = {
    "classify": (
        b"INSERT INTO prediction",  # a chunk's end
        b"UPDATE score_chunk SET state",  # its claim
        b"INSERT INTO score_job",
    ),
    "ingest": (b"INSERT INTO run_batch", b"UPDATE source SET"),  # a page; a source's turn
    "retrain": (b"INSERT INTO promotion", b"INSERT INTO model ", b"INSERT INTO snapshot "),
}


@dataclass(frozen=True)
class Scores:
    """Reports that stand at their source, by how often a model answered their current version."""

    reports: int
    never: int
    once: int
    more: int
    given_up: int  # reports in quarantine because they made the model fail, or killed it
    jobs_unfinished: int


@dataclass(frozen=True)
class Said:
    """What was answered, and to which text."""

    report_version_id: int
    text: str
    probabilities: dict[str, float]


def scores(c: Connection, model_id: int) -> Scores:
    """How the model's answers are spread over the current reports."""
    r, v, p = report.c, report_version.c, prediction.c
    current = and_(v.report_id == r.id, v.version == r.current_version)
    its = and_(p.report_version_id == v.id, p.model_id == model_id)
    answers = (
        select(func.count(p.report_version_id).label("answers"))
        .select_from(report.join(report_version, current).outerjoin(prediction, its))
        .where(r.deleted_at.is_(None))
        .group_by(r.id)
        .subquery()
    )
    spread: dict[int, int] = {
        row.answers: row.reports
        for row in c.execute(
            select(answers.c.answers, func.count().label("reports")).group_by(answers.c.answers)
        )
    }
    given_up = select(func.count()).where(quarantine.c.reason == SCORING_FAILED)
    unfinished = select(func.count()).where(score_job.c.state.in_(UNFINISHED))
    return Scores(
        reports=sum(spread.values()),
        never=spread.get(0, 0),
        once=spread.get(1, 0),
        more=sum(reports for answers, reports in spread.items() if answers > 1),
        given_up=c.scalar(given_up) or 0,
        jobs_unfinished=c.scalar(unfinished) or 0,
    )


def said(c: Connection, job_id: int) -> Iterator[list[Said]]:
    """A job's answers beside the texts they are about, in pages."""
    last = 0
    query = (
        select(report_version.c.id, report_version.c.text, prediction.c.probabilities)
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .where(prediction.c.job_id == job_id)
        .order_by(report_version.c.id)
        .limit(PAGE)
    )
    while page := c.execute(query.where(report_version.c.id > last)).all():
        last = page[-1].id
        yield [Said(*row) for row in page]


def change_chunk(c: Connection, chunk: Chunk, **values: Any) -> None:
    """Change the chunk whoever holds it: what no worker may do, for the control that shows why."""
    own = (score_chunk.c.job_id == chunk.job_id, score_chunk.c.seq == chunk.seq)
    c.execute(update(score_chunk).where(*own).values(**values))
