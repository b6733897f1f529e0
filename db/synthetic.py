"""Synthetic reports as rows: a set is written ahead, and put in force in the place of another by one swap."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, delete, insert, select, update

from db.among import among
from db.ledger import Counts
from db.reports import CURRENT, mark_deleted, revive
from db.tables import label, report, report_version, source

_AT_ONCE = 500  # rows in one statement: SQLite takes no more than 32,766 parameters


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
class WrittenAhead:
    """A page of a set that is not in force yet: its numbers, and what of it is written.

    `amended`: reports known with another text or under another label. They may teach now, so they are
    written with the swap, and `counts` leaves them out.
    """

    counts: Counts
    report_ids: frozenset[int]
    amended: list[NewReport]


@dataclass(frozen=True)
class _Known:
    """A report that was written before, its current version and what that is said to be."""

    external_id: str
    id: int
    current_version: int
    version_id: int
    raw_sha: str
    label: str | None


def source_of(c: Connection, classifier: str) -> int:
    """The classifier's synthetic source, made where there is none."""
    name = f"synthetic:{classifier}"
    known = c.scalar(select(source.c.id).where(source.c.name == name))
    if known is not None:
        return int(known)
    made = insert(source).values(name=name, kind="synthetic").returning(source.c.id)
    return int(c.execute(made).scalar_one())


def write_ahead(
    c: Connection, run_id: int, source_id: int, classifier: str, rows: Sequence[NewReport], now: datetime
) -> WrittenAhead:
    """Write what is new of a page, with its labels, as reports that are gone: they teach nothing yet."""
    known = _known(c, source_id, classifier, rows)
    new = [row for row in rows if row.external_id not in known]
    amended = [row for row in rows if row.external_id in known and not _says(known[row.external_id], row)]
    report_ids = _insert_reports(c, source_id, new, now)
    version_ids = _insert_versions(c, run_id, new, report_ids, dict.fromkeys(report_ids, 1), now)
    _set_labels(c, classifier, {version_ids[row.external_id]: row.label for row in new}, now)
    done = len(rows) - len(amended)
    numbers = frozenset(report_ids.values()) | {found.id for found in known.values()}
    return WrittenAhead(Counts(done, len(new), 0, done - len(new), 0), numbers, amended)


def amend(
    c: Connection, run_id: int, source_id: int, classifier: str, rows: Sequence[NewReport], now: datetime
) -> Counts:
    """Give known reports their other text, as a new version, or their other label."""
    updated = 0
    for start in range(0, len(rows), _AT_ONCE):
        page = rows[start : start + _AT_ONCE]
        known = _known(c, source_id, classifier, page)
        changed = [row for row in page if known[row.external_id].raw_sha != row.raw_sha]
        report_ids = {row.external_id: known[row.external_id].id for row in changed}
        versions = {row.external_id: known[row.external_id].current_version + 1 for row in changed}
        version_ids = {name: found.version_id for name, found in known.items()}
        version_ids |= _insert_versions(c, run_id, changed, report_ids, versions, now)
        moved = update(report).where(among(c, report.c.id, list(report_ids.values())))
        c.execute(moved.values(current_version=report.c.current_version + 1))
        _set_labels(c, classifier, {version_ids[row.external_id]: row.label for row in page}, now)
        updated += len(changed)
    return Counts(len(rows), 0, updated, len(rows) - updated, 0)


def swap(c: Connection, source_id: int, report_ids: Collection[int], now: datetime) -> int:
    """Let these reports of the source stand, and no other; returns how many are gone by it."""
    ours = (report.c.source_id == source_id, report.c.deleted_at.is_(None))
    standing = set(c.scalars(select(report.c.id).where(*ours)))
    gone = sorted(standing.difference(report_ids))
    mark_deleted(c, gone, now)
    revive(c, sorted(set(report_ids) - standing))
    return len(gone)


def _says(known: _Known, row: NewReport) -> bool:
    return (known.raw_sha, known.label) == (row.raw_sha, row.label)


def _known(c: Connection, source_id: int, classifier: str, rows: Sequence[NewReport]) -> dict[str, _Known]:
    said = and_(
        label.c.report_version_id == report_version.c.id,
        label.c.classifier == classifier,
        label.c.origin == "synthetic",
    )
    query = (
        select(
            report.c.external_id,
            report.c.id,
            report.c.current_version,
            report_version.c.id,
            report_version.c.raw_sha,
            label.c.value,
        )
        .join(report_version, report_version.c.report_id == report.c.id)
        .outerjoin(label, said)
        .where(
            report.c.source_id == source_id,
            among(c, report.c.external_id, [row.external_id for row in rows]),
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
            "deleted_at": now,  # until its set is put in force
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
