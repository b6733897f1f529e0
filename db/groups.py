"""Of which groups the patient of a report is: for slices and the fairness gate alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from sqlalchemy import Connection, delete, func, select

from db.among import among, chunks
from db.load import load
from db.reports import CURRENT
from db.tables import patient_group, report, report_version

OPEN_ENDED = ("race", "institution")  # what a source writes there is kept as it is


@dataclass(frozen=True, slots=True)
class Groups:
    """What a source tells of a report's patient; None for what it does not know."""

    sex: str | None = None
    age_band: str | None = None
    race: str | None = None
    institution: str | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in astuple(self))


def of(c: Connection, version_ids: Sequence[int]) -> dict[int, Groups]:
    """Report version -> its groups; those of whom nothing is known are left out."""
    columns = [patient_group.c[field.name] for field in fields(Groups)]
    query = select(patient_group.c.report_version_id, *columns)
    return {
        version_id: Groups(*values)
        for some in chunks(version_ids)
        for version_id, *values in c.execute(query.where(among(c, patient_group.c.report_version_id, some)))
    }


def newest_values(c: Connection, source_id: int, versions: int) -> dict[str, set[str]]:
    """Of each OPEN_ENDED column, the different values of a source's current reports.

    Looked for among the newest `versions` report versions of all sources, so that it costs the same however
    many there are.
    """
    newest = select(func.max(report_version.c.id)).scalar_subquery()
    columns = [patient_group.c[name] for name in OPEN_ENDED]
    query = (
        select(*columns)
        .join(report_version, report_version.c.id == patient_group.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(
            patient_group.c.report_version_id > newest - versions,
            report.c.source_id == source_id,
            report.c.deleted_at.is_(None),
            CURRENT,
        )
        .distinct()
    )
    rows = c.execute(query).all()
    return {name: {row[at] for row in rows if row[at] is not None} for at, name in enumerate(OPEN_ENDED)}


def put(c: Connection, told: Mapping[int, Groups], standing: Sequence[int]) -> None:
    """Write what is told of each report version; a row is written anew only where it says something else.

    `standing`: those of them that may have a row already.
    """
    before = of(c, standing)
    changed = {version_id: one for version_id, one in told.items() if before.get(version_id, Groups()) != one}
    for some in chunks([version_id for version_id in changed if version_id in before]):
        c.execute(delete(patient_group).where(among(c, patient_group.c.report_version_id, some)))
    known = {version_id: one for version_id, one in changed.items() if one}
    columns = {field.name: [getattr(one, field.name) for one in known.values()] for field in fields(Groups)}
    load(c, patient_group, {"report_version_id": list(known), **columns}, every={})
