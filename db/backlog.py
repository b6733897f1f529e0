"""What a model has yet to score: cut into chunks, and read chunk by chunk.

The backlog is "no prediction by this model", never a watermark: whatever a killed job, a late commit
or a restored report left behind is in the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Connection,
    ScalarSelect,
    Select,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    update,
)

from db.cutting import levels, seq_of
from db.quarantine import SCORING_FAILED, Refused, add, scoring_failed
from db.reports import CURRENT, PRESENT
from db.tables import (
    champion,
    model,
    prediction,
    quarantine,
    report,
    report_version,
    score_chunk,
    score_job,
    shift_test,
    source,
)

# why a report was given up, as its quarantine row tells
FAILED: Final = "the model failed on it"
KILLED: Final = "each process that read it was killed"


def waiting(
    model_id: int, sources: Sequence[str] | None, within: tuple[int, int] | None = None
) -> Select[Any]:
    """Current versions (id, text) without a prediction by the model, of these hospital sources (None: all).

    `within` two version ids, both included. Left out: what is gone or erased, and what made a model of its
    classifier fail before and still lies in quarantine.
    """
    predicted = exists().where(
        prediction.c.model_id == model_id, prediction.c.report_version_id == report_version.c.id
    )
    if within is not None:
        # said twice: PostgreSQL does not see that it bounds the predictions to be looked at, too
        predicted = predicted.where(prediction.c.report_version_id.between(*within))
    query = (
        select(report_version.c.id, report_version.c.text)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .where(
            CURRENT,
            report_version.c.text.is_not(None),
            PRESENT,
            source.c.kind == "database",
            ~predicted,
            ~scoring_failed(classifier_of(model_id)),
        )
    )
    if within is not None:
        query = query.where(report_version.c.id.between(*within))
    # an expression, which no index answers: given a name, SQLite would go through all reports of that
    # source for every chunk, and not from the chunk's versions to their reports
    return query if sources is None else query.where((source.c.name + literal("")).in_(sources))


def classifier_of(model_id: int) -> ScalarSelect[str]:
    """The classifier that a model is of, as a part of a query."""
    return select(model.c.classifier).where(model.c.id == model_id).scalar_subquery()


def count(c: Connection, model_id: int, sources: Sequence[str] | None) -> int:
    """How many report versions wait for the model."""
    return int(c.scalar(select(func.count()).select_from(waiting(model_id, sources).subquery())) or 0)


def cut(
    c: Connection,
    classifier: str,
    model_id: int,
    *,
    sources: Sequence[str] | None,
    chunk_reports_min: int,
    chunk_reports_max: int,
    run_id: int,
    now: datetime,
) -> int | None:
    """Cut the backlog into ranges of version ids; the job's id, None if nothing waits.

    Of `chunk_reports_max` reports or fewer each, for a worker has a whole chunk in memory, falling to
    `chunk_reports_min` (db/cutting.py).

    Call `hold_champion` first in the same transaction: it keeps two runs from cutting the same backlog.
    """
    reports = count(c, model_id, sources)
    if reports == 0:
        return None
    if c.dialect.name == "postgresql":
        # right after a first, large ingest it has no statistics yet, and would go through all reports
        # for every chunk it reads
        c.execute(text("ANALYZE report, report_version, prediction"))
    job = insert(score_job).values(
        classifier=classifier, model_id=model_id, reports=reports, run_id=run_id, created_at=now
    )
    job_id = int(c.execute(job.returning(score_job.c.id)).scalar_one())
    c.execute(insert(shift_test).values(job_id=job_id))
    versions = waiting(model_id, sources).subquery()
    number = func.row_number().over(order_by=versions.c.id).label("number")
    numbered = select(versions.c.id, number).subquery()
    seq = seq_of(numbered.c.number, levels(reports, chunk_reports_min, chunk_reports_max))
    # what another session took in since it was counted (PostgreSQL shows it) waits for the next cut
    cut = select(numbered.c.id, seq.label("seq")).where(numbered.c.number <= reports).subquery()
    ranges = select(
        literal(job_id), cut.c.seq, func.min(cut.c.id), func.max(cut.c.id), func.count()
    ).group_by(cut.c.seq)
    columns = ["job_id", "seq", "first_version_id", "last_version_id", "reports"]
    chunks = insert(score_chunk).from_select(columns, ranges)
    if c.execute(chunks.returning(score_chunk.c.seq)).first() is None:
        # all of it went meanwhile: a job without a chunk would stay open for ever, and keep every later
        # report waiting
        c.execute(delete(shift_test).where(shift_test.c.job_id == job_id))
        c.execute(delete(score_job).where(score_job.c.id == job_id))
        return None
    return job_id


def hold_champion(c: Connection, classifier: str) -> None:
    """Let no promotion and no other cut of this classifier in until the transaction ends.

    PostgreSQL locks the champion's row; SQLite's one writer needs no lock beyond `writing`.
    """
    c.execute(select(champion.c.model_id).where(champion.c.classifier == classifier).with_for_update())


def texts(
    c: Connection, model_id: int, sources: Sequence[str] | None, first: int, last: int
) -> dict[int, str]:
    """What waits between two version ids (both included): version id -> text."""
    query = waiting(model_id, sources, (first, last)).order_by(report_version.c.id)
    return {row.id: row.text for row in c.execute(query)}


def erased(c: Connection, first: int, last: int) -> set[int]:
    """The versions between two ids (both included) whose text was removed on request."""
    gone = report_version.c.id.between(first, last) & report_version.c.text.is_(None)
    return set(c.scalars(select(report_version.c.id).where(gone)))


def give_up(
    c: Connection,
    classifier: str,
    version_ids: Sequence[int],
    run_id: int,
    now: datetime,
    *,
    because: str = FAILED,
) -> None:
    """Quarantine report versions that the classifier's model cannot read; the payload says why, no text."""
    query = (
        select(report_version.c.id, report.c.source_id, report.c.external_id, report_version.c.raw_sha)
        .join(report, report.c.id == report_version.c.report_id)
        .where(report_version.c.id.in_(version_ids), report.c.erased_at.is_(None))
        .order_by(report_version.c.id)
    )
    for row in c.execute(query).all():
        payload = {"report_version_id": row.id, "because": because}
        refused = Refused(row.external_id, row.raw_sha, SCORING_FAILED, payload, classifier)
        add(c, run_id, row.source_id, [refused], now)


def try_again(c: Connection, source_id: int, now: datetime) -> int:
    """Let what made the model fail back into the backlog; how many reports."""
    waits = (
        quarantine.c.source_id == source_id,
        quarantine.c.reason == SCORING_FAILED,
        quarantine.c.state == "waiting",
    )
    freed = {"state": "resolved", "closed_at": now, "closed_because": "to be scored again"}
    return c.execute(update(quarantine).where(*waits).values(freed)).rowcount
