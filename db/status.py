"""Where things stand, in a handful of counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, ScalarSelect, func, select

from db import backlog
from db.tables import champion, prediction, quarantine, report, report_version, run, source


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


def sources(c: Connection) -> list[SourceStatus]:
    """Every source ever read, hospital or synthetic, by name; reports that are gone do not count."""
    present = report.c.deleted_at.is_(None) & report.c.erased_at.is_(None)
    reports = _count_by_source(report.c.source_id, present)
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
            func.count().filter(prediction.c.decision == "review").label("for_review"),
        )
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(
            prediction.c.model_id == holder.model_id,
            report_version.c.version == report.c.current_version,
            report.c.deleted_at.is_(None),
            report.c.erased_at.is_(None),
        )
    )
    counts = c.execute(current).one()
    waits = backlog.count(c, holder.model_id, reads)
    return ClassifierStatus(name, holder.model_id, holder.since, counts.predicted, counts.for_review, waits)


def last_runs(c: Connection) -> list[RunStatus]:
    """The latest run of each kind, newest first."""
    latest = select(func.max(run.c.id)).group_by(run.c.kind)
    columns = (run.c.id, run.c.kind, run.c.state, run.c.started_at, run.c.ended_at)
    query = select(*columns, run.c.read, run.c.quarantined, run.c.failure).where(run.c.id.in_(latest))
    return [RunStatus(*row) for row in c.execute(query.order_by(run.c.id.desc()))]


def _count_by_source(column: Column[Any], condition: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).where(column == source.c.id, condition).correlate(source).scalar_subquery()
