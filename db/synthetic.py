"""Synthetic reports as rows: taken in like a hospital's, and retired when a newer set replaces them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from db.among import among
from db.ledger import Counts
from db.reports import CURRENT
from db.tables import label, report, report_version, source

_AT_ONCE = 500  # ids in one statement: SQLite takes no more than 32,766 parameters


@dataclass(frozen=True)
class NewReport:
    external_id: str
    patient_key: str
    raw_sha: str
    text: str
    repairs: dict[str, int]
    cleaning_revision: int
    label: str
    institution: str  # whose words it is in


@dataclass(frozen=True)
class _Known:
    """A report that was written before, and its current version."""

    external_id: str
    id: int
    current_version: int
    deleted_at: datetime | None
    version_id: int
    raw_sha: str


def source_of(c: Connection, classifier: str) -> int:
    """The classifier's synthetic source, made where there is none."""
    name = f"synthetic:{classifier}"
    known = c.scalar(select(source.c.id).where(source.c.name == name))
    if known is not None:
        return int(known)
    made = insert(source).values(name=name, kind="synthetic").returning(source.c.id)
    return int(c.execute(made).scalar_one())


def take_in(
    c: Connection, run_id: int, source_id: int, classifier: str, rows: Sequence[NewReport], now: datetime
) -> Counts:
    """Write a page of reports with their labels; a known id with the same content is left as it is."""
    known = _known(c, source_id, [row.external_id for row in rows])
    new = [row for row in rows if row.external_id not in known]
    changed = [
        row for row in rows if row.external_id in known and known[row.external_id].raw_sha != row.raw_sha
    ]
    report_ids = _insert_reports(c, source_id, new, now)
    report_ids |= {row.external_id: known[row.external_id].id for row in changed}
    versions = {row.external_id: 1 for row in new}
    versions |= {row.external_id: known[row.external_id].current_version + 1 for row in changed}
    version_ids = _insert_versions(c, run_id, new + changed, report_ids, versions, now)
    for row in changed:
        bumped = update(report).where(report.c.id == report_ids[row.external_id])
        c.execute(bumped.values(current_version=versions[row.external_id]))
    version_ids = {name: found.version_id for name, found in known.items()} | version_ids
    _set_labels(c, classifier, {version_ids[row.external_id]: row.label for row in rows}, now)
    # a set that was replaced may come back
    back = [found.id for found in known.values() if found.deleted_at is not None]
    if back:
        c.execute(update(report).where(report.c.id.in_(back)).values(deleted_at=None))
    return Counts(len(rows), len(new), len(changed), len(rows) - len(new) - len(changed), 0)


def retire_others(c: Connection, source_id: int, current: Collection[str], now: datetime) -> int:
    """Mark as gone whatever of the source is none of these ids; returns how many reports that were."""
    query = select(report.c.id, report.c.external_id).where(
        report.c.source_id == source_id, report.c.deleted_at.is_(None)
    )
    gone = [row.id for row in c.execute(query) if row.external_id not in current]
    for start in range(0, len(gone), _AT_ONCE):
        page = gone[start : start + _AT_ONCE]
        c.execute(update(report).where(report.c.id.in_(page)).values(deleted_at=now))
    return len(gone)


def _known(c: Connection, source_id: int, external_ids: Sequence[str]) -> dict[str, _Known]:
    query = (
        select(
            report.c.external_id,
            report.c.id,
            report.c.current_version,
            report.c.deleted_at,
            report_version.c.id,
            report_version.c.raw_sha,
        )
        .join(report_version, report_version.c.report_id == report.c.id)
        .where(
            report.c.source_id == source_id,
            among(c, report.c.external_id, list(external_ids)),
            CURRENT,
        )
    )
    return {row.external_id: _Known(*row) for row in c.execute(query)}


def _insert_reports(
    c: Connection, source_id: int, rows: Sequence[NewReport], now: datetime
) -> dict[str, int]:
    if not rows:
        return {}
    values = [
        {
            "source_id": source_id,
            "external_id": row.external_id,
            "patient_key": row.patient_key,
            "current_version": 1,
            "created_at": now,
        }
        for row in rows
    ]
    made = c.execute(insert(report).returning(report.c.external_id, report.c.id), values)
    return {row.external_id: row.id for row in made}


def _insert_versions(
    c: Connection,
    run_id: int,
    rows: Sequence[NewReport],
    report_ids: dict[str, int],
    versions: dict[str, int],
    now: datetime,
) -> dict[str, int]:
    if not rows:
        return {}
    values = [
        {
            "report_id": report_ids[row.external_id],
            "version": versions[row.external_id],
            "raw_sha": row.raw_sha,
            "text": row.text,
            "cleaning_revision": row.cleaning_revision,
            "repairs": row.repairs,
            "institution": row.institution,
            "run_id": run_id,
            "created_at": now,
        }
        for row in rows
    ]
    returned = (report_version.c.report_id, report_version.c.id)
    made = c.execute(insert(report_version).returning(*returned), values)
    version_of = {row.report_id: row.id for row in made}
    return {row.external_id: version_of[report_ids[row.external_id]] for row in rows}


def _set_labels(c: Connection, classifier: str, values: dict[int, str], now: datetime) -> None:
    """Replace: which name a label goes by is configuration, and may have changed while the text did not."""
    ours = (label.c.classifier == classifier, label.c.origin == "synthetic")
    query = select(label.c.report_version_id, label.c.value).where(*ours)
    found = c.execute(query.where(label.c.report_version_id.in_(values)))
    standing: dict[int, str] = {row.report_version_id: row.value for row in found}
    differing = [version_id for version_id, value in values.items() if standing.get(version_id) != value]
    if differing:
        c.execute(delete(label).where(label.c.report_version_id.in_(differing), *ours))
        rows = [
            {
                "report_version_id": version_id,
                "classifier": classifier,
                "origin": "synthetic",
                "actor": "laudos",
                "value": values[version_id],
                "at": now,
            }
            for version_id in differing
        ]
        c.execute(insert(label), rows)
