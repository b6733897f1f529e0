"""What kind each report of a training set is of, for cutting a holdout into slices: no text, no patient."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, func, select

from db.tables import patient_group, report, report_version, snapshot_item, source


@dataclass(frozen=True, slots=True)
class Kind:
    """Where one report comes from, and of which groups its patient is, as far as the source tells.

    `institution`: whose words a synthetic report is in, or where a hospital says it was written.
    """

    source: str
    institution: str | None
    report_date: date | None
    sex: str | None = None
    age_band: str | None = None
    race: str | None = None


def kinds(c: Connection, snapshot_id: int, split: str) -> dict[int, Kind]:
    """Report version -> its kind, for a split of a snapshot."""
    query = (
        select(
            snapshot_item.c.report_version_id,
            source.c.name,
            func.coalesce(report_version.c.institution, patient_group.c.institution),
            report_version.c.report_date,
            patient_group.c.sex,
            patient_group.c.age_band,
            patient_group.c.race,
        )
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .outerjoin(patient_group, patient_group.c.report_version_id == report_version.c.id)
        .where(snapshot_item.c.snapshot_id == snapshot_id, snapshot_item.c.split == split)
    )
    return {version_id: Kind(*values) for version_id, *values in c.execute(query)}
