"""What a frozen training set is made of, counted from its own rows: no text, no patient."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, func, select

from db.tables import report, report_version, run, snapshot, snapshot_item, source


@dataclass(frozen=True)
class FromSource:
    """So many reports of one source, whose labels came from `origin`; dates where the reports bear any."""

    source: str
    origin: str
    split: str
    reports: int
    patients: int
    first_date: date | None
    last_date: date | None


def by_source(c: Connection, snapshot_id: int) -> list[FromSource]:
    """By source, origin and split, in this order."""
    kind = (source.c.name, snapshot_item.c.origin, snapshot_item.c.split)
    query = _items(snapshot_id).with_only_columns(
        *kind,
        func.count(),
        func.count(report.c.patient_key.distinct()),
        func.min(report_version.c.report_date),
        func.max(report_version.c.report_date),
    )
    return [FromSource(*row) for row in c.execute(query.group_by(*kind).order_by(*kind))]


def by_institution(c: Connection, snapshot_id: int) -> list[tuple[str | None, str, str, int]]:
    """(institution, label, split, reports) of the synthetic reports; None where it was not recorded."""
    kind = (report_version.c.institution, snapshot_item.c.label, snapshot_item.c.split)
    query = _items(snapshot_id).with_only_columns(*kind, func.count())
    query = query.where(source.c.kind == "synthetic").group_by(*kind).order_by(*kind)
    return [tuple(row) for row in c.execute(query)]


def synthetic_ids(c: Connection, snapshot_id: int) -> list[tuple[str, str]]:
    """(id, split) of every synthetic report, by id; an id names the seed that its report was drawn with."""
    query = _items(snapshot_id).with_only_columns(report.c.external_id, snapshot_item.c.split)
    query = query.where(source.c.kind == "synthetic").order_by(report.c.external_id)
    return [tuple(row) for row in c.execute(query)]


def frozen_by(c: Connection, snapshot_id: int) -> str:
    """The revision of the code that froze it."""
    query = select(run.c.code_revision).join(snapshot, snapshot.c.run_id == run.c.id)
    return str(c.scalar(query.where(snapshot.c.id == snapshot_id)))


def _items(snapshot_id: int) -> Select[Any]:
    return (
        select(snapshot_item.c.report_version_id)
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .where(snapshot_item.c.snapshot_id == snapshot_id)
    )
