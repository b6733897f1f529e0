"""Where things stand, in a handful of counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, ScalarSelect, func, select

from db import backlog
from db.candidates import pending
from db.reports import CURRENT, PRESENT
from db.scoring import UNFINISHED, JobState, lease_clock
from db.shadow import beside
from db.tables import (
    champion,
    prediction,
    quarantine,
    report,
    report_version,
    run,
    score_chunk,
    score_job,
    shift_test,
    source,
)
from db.view_queries import waits_for_a_person

# a rate is read off about so many of the last chunks that ended, none of them longer ago than this
RATE_CHUNKS = 20
RATE_AGE = timedelta(hours=1)


@dataclass(frozen=True)
class SourceStatus:
    """A source: how far it was read, and what came of it."""

    source: str
    reports: int
    waiting_in_quarantine: int
    read_up_to: datetime | None
    compared_at: datetime | None


@dataclass(frozen=True)
class ClassifierStatus:
    """A classifier: who answers, since when, and what waits."""

    classifier: str
    champion: int | None
    since: datetime | None
    predicted: int
    for_review: int
    backlog: int | None


@dataclass(frozen=True)
class RunStatus:
    """The latest run of one kind."""

    run: int
    kind: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    read: int
    quarantined: int
    failure: str | None


@dataclass(frozen=True)
class JobStatus:
    """A scoring job: how far it is, who works on it, and when it will be done.

    `workers` hold a lease now, on a chunk or on the test for a shift; `silent` chunks have one that ran out;
    a worker died over `suspect` ones. `reports_per_minute` stands on the last chunks that ended, None with
    nobody at work, or before a worker ended its second within an hour; `left_s` is None without it.
    `population`: due, alike, shifted or untested (db/shift.py); None for a job cut before there were tests.
    """

    job: int
    classifier: str
    model_id: int
    state: JobState
    reports: int
    reports_done: int
    written: int
    chunks: int
    chunks_done: int
    chunks_leased: int
    workers: int
    silent: int
    suspect: int
    reports_per_minute: float | None
    left_s: float | None
    created_at: datetime
    ended_at: datetime | None
    population: str | None


@dataclass(frozen=True)
class CandidateStatus:
    """A challenger that met every rule and does not answer yet: it scores along (shadow) or waits (waiting).

    Of `scored` reports `same_label` got the champion's label; `to_person` more and `from_person` fewer would
    go to a person. `until`: when it expires.
    """

    classifier: str
    model_id: int
    state: str
    since: datetime
    until: datetime
    scored: int
    of: int
    same_label: int
    to_person: int
    from_person: int


def candidates(c: Connection) -> list[CandidateStatus]:
    """Every challenger that scores along or waits, the oldest first."""
    return [
        CandidateStatus(
            one.classifier,
            one.model_id,
            one.state,
            one.since,
            one.until,
            found.reports,
            one.shadow_reports,
            found.same_label,
            found.to_person,
            found.from_person,
        )
        for one in pending(c)
        for found in [beside(c, one)]
    ]


def sources(c: Connection) -> list[SourceStatus]:
    """Every source ever read, hospital or synthetic, by name; reports that are gone do not count."""
    reports = _count_by_source(report.c.source_id, PRESENT)
    waiting = _count_by_source(quarantine.c.source_id, quarantine.c.state == "waiting")
    query = select(source.c.name, reports, waiting, source.c.watermark, source.c.reconciled_at)
    return [SourceStatus(*row) for row in c.execute(query.order_by(source.c.name))]


def classifier(c: Connection, name: str, reads: list[str] | None) -> ClassifierStatus:
    """One classifier, which reads these sources (None: all); no champion, no backlog."""
    holder = c.execute(
        select(champion.c.model_id, champion.c.since).where(champion.c.classifier == name)
    ).one_or_none()
    if holder is None:
        return ClassifierStatus(name, None, None, 0, 0, None)
    current = (
        select(
            func.count().label("predicted"),
            func.count().filter(waits_for_a_person()).label("for_review"),
        )
        .join(champion, champion.c.model_id == prediction.c.model_id)
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(champion.c.classifier == name, CURRENT, PRESENT)
    )
    counts = c.execute(current).one()
    waits = backlog.count(c, holder.model_id, reads)
    return ClassifierStatus(name, holder.model_id, holder.since, counts.predicted, counts.for_review, waits)


def overdue(c: Connection, name: str, reads: list[str] | None, since: datetime) -> int:
    """Report versions that wait for the classifier's champion, as both did at that moment already.

    0 where somebody is at work on a job of it, or a person stopped it.
    """
    holder = c.execute(
        select(champion.c.model_id).where(champion.c.classifier == name, champion.c.since < since)
    ).one_or_none()
    if holder is None:
        return 0
    under_way = jobs(c, lease_clock(c), unfinished=True, classifier=name)
    if any(job.workers or job.state == "paused" for job in under_way):
        return 0
    waits = backlog.waiting(holder.model_id, reads).where(report_version.c.created_at < since)
    return int(c.scalar(select(func.count()).select_from(waits.subquery())) or 0)


def last_runs(c: Connection) -> list[RunStatus]:
    """The latest run of each kind, newest first."""
    latest = select(func.max(run.c.id)).group_by(run.c.kind)
    columns = (run.c.id, run.c.kind, run.c.state, run.c.started_at, run.c.ended_at)
    query = select(*columns, run.c.read, run.c.quarantined, run.c.failure).where(run.c.id.in_(latest))
    return [RunStatus(*row) for row in c.execute(query.order_by(run.c.id.desc()))]


def nights(c: Connection) -> list[tuple[datetime, str]]:
    """When each nightly run began, and its state; the oldest first."""
    query = select(run.c.started_at, run.c.state).where(run.c.kind == "nightly").order_by(run.c.started_at)
    return [(row.started_at, row.state) for row in c.execute(query)]


def jobs(
    c: Connection,
    now: datetime,
    *,
    unfinished: bool = False,
    classifier: str | None = None,
    limit: int | None = None,
) -> list[JobStatus]:
    """Scoring jobs, newest first; `now` is `scoring.lease_clock`'s."""
    chunk = score_chunk.c
    done, leased = chunk.state == "done", chunk.state == "leased"
    alive = leased & (chunk.leased_until >= now)
    tested = shift_test.c.leased_until >= now

    def counted(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count().filter(condition)

    def reports(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(chunk.reports).filter(condition), 0)

    query = (
        select(
            score_job,
            shift_test.c.state.label("population"),
            func.count().label("chunks"),
            counted(done).label("chunks_done"),
            counted(leased).label("chunks_leased"),
            counted(leased & ~alive).label("silent"),
            counted(~done & (chunk.deaths > 0)).label("suspect"),
            func.count(chunk.leased_by.distinct()).filter(alive).label("workers"),
            func.count(shift_test.c.leased_by.distinct()).filter(tested).label("testing"),
            reports(done).label("reports_done"),
            reports(~done).label("reports_left"),
            func.coalesce(func.sum(chunk.written), 0).label("written"),
        )
        .join(score_chunk, chunk.job_id == score_job.c.id)
        .outerjoin(shift_test, shift_test.c.job_id == score_job.c.id)
        .group_by(score_job.c.id, shift_test.c.state)
        .order_by(score_job.c.id.desc())
    )
    if unfinished:
        query = query.where(score_job.c.state.in_(UNFINISHED))
    if classifier is not None:
        query = query.where(score_job.c.classifier == classifier)
    return [_job(c, row, now) for row in c.execute(query.limit(limit)).all()]


def _job(c: Connection, row: Row[Any], now: datetime) -> JobStatus:
    rate = _reports_per_minute(c, row.id, row.workers, now) if row.state == "open" and row.workers else None
    return JobStatus(
        job=row.id,
        classifier=row.classifier,
        model_id=row.model_id,
        state=row.state,
        reports=row.reports,
        reports_done=row.reports_done,
        written=row.written,
        chunks=row.chunks,
        chunks_done=row.chunks_done,
        chunks_leased=row.chunks_leased,
        workers=row.workers + row.testing,
        silent=row.silent,
        suspect=row.suspect,
        reports_per_minute=rate,
        left_s=60 * row.reports_left / rate if rate else None,
        created_at=row.created_at,
        ended_at=row.ended_at,
        population=row.population,
    )


def _reports_per_minute(c: Connection, job_id: int, workers: int, now: datetime) -> float | None:
    """Reports of the last chunks that ended, over the time since the one before them.

    Of whole rounds, a chunk a worker: workers that began together end together, too, and between two of one
    round lies next to no time.
    """
    rounds = max(1, RATE_CHUNKS // workers)
    ended = c.execute(
        select(score_chunk.c.done_at, score_chunk.c.reports)
        .where(score_chunk.c.job_id == job_id, score_chunk.c.done_at > now - RATE_AGE)
        .order_by(score_chunk.c.done_at.desc())
        .limit(rounds * workers + 1)
    ).all()
    of_whole_rounds = (len(ended) - 1) // workers * workers
    if of_whole_rounds < 1:
        return None
    took_s = (ended[0].done_at - ended[of_whole_rounds].done_at).total_seconds()
    return 60 * sum(row.reports for row in ended[:of_whole_rounds]) / took_s if took_s > 0 else None


def _count_by_source(column: Column[Any], condition: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).where(column == source.c.id, condition).correlate(source).scalar_subquery()
