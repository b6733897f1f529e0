"""Reports and their versions. A version's text is written once and never changed, only erased."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, func, select, update

from db.among import among, chunks
from db.load import load, next_ids
from db.tables import report, report_version

# the last version of its report, and a report that is neither gone from its source nor erased
CURRENT = report_version.c.version == report.c.current_version
PRESENT = and_(report.c.deleted_at.is_(None), report.c.erased_at.is_(None))


@dataclass(frozen=True, slots=True)
class Known:
    """A report as it stands, with its current version."""

    report_id: int
    version: int
    version_id: int
    raw_sha: str
    patient_key: str
    updated_at: datetime | None
    deleted: bool
    erased: bool


class Content(NamedTuple):
    """A report's content, cleaned, ready to be taken in."""

    external_id: str
    patient_key: str
    raw_sha: str
    text: str
    cleaning_revision: int
    repairs: dict[str, int]
    report_date: date | None
    source_updated_at: datetime | None

    def __repr__(self) -> str:
        return f"Content(external_id={self.external_id!r})"


def known(c: Connection, source_id: int, external_ids: Sequence[str]) -> dict[str, Known]:
    """What is known of these reports of a source, by external id."""
    query = (
        select(
            report.c.external_id,
            report.c.id,
            report.c.current_version,
            # one that was erased before it could be taken in has no version
            func.coalesce(report_version.c.id, 0),
            func.coalesce(report_version.c.raw_sha, ""),
            report.c.patient_key,
            report_version.c.source_updated_at,
            report.c.deleted_at.is_not(None),
            report.c.erased_at.is_not(None),
        )
        .join_from(
            report,
            report_version,
            (report_version.c.report_id == report.c.id) & CURRENT,
            isouter=True,
        )
        .where(report.c.source_id == source_id)
    )
    found: dict[str, Known] = {}
    for some in chunks(external_ids):
        for external_id, *values in c.execute(query.where(among(c, report.c.external_id, some))):
            found[external_id] = Known(*values)
    return found


def earlier_shas(c: Connection, report_ids: Sequence[int]) -> set[tuple[int, str]]:
    """(report, raw sha) of every version these reports have had."""
    query = select(report_version.c.report_id, report_version.c.raw_sha)
    return {
        (row.report_id, row.raw_sha)
        for some in chunks(report_ids)
        for row in c.execute(query.where(among(c, report_version.c.report_id, some)))
    }


def take_in(
    c: Connection,
    run_id: int,
    source_id: int,
    contents: Sequence[Content],
    already: Mapping[str, Known],
    now: datetime,
) -> dict[str, int]:
    """Write a version of each: the first of a new report, the next of one in `already`.

    One content a report. Returns external id -> the version's id. A report that was gone is back.
    """
    if not contents:
        return {}
    amended = [one.external_id for one in contents if one.external_id in already]
    ids = {name: already[name].report_id for name in amended}
    ids |= _add_reports(c, source_id, [one for one in contents if one.external_id not in already], now)
    _move_on(c, [already[name].report_id for name in amended])
    versions = {name: already[name].version + 1 for name in amended}
    return _add_versions(c, run_id, contents, ids, versions, now)


def revive(c: Connection, report_ids: Sequence[int]) -> None:
    """These reports stand at their source again."""
    for some in chunks(report_ids):
        c.execute(update(report).where(among(c, report.c.id, some)).values(deleted_at=None))


def mark_deleted(c: Connection, report_ids: Sequence[int], now: datetime) -> None:
    """These reports are gone at their source; their versions stay."""
    for some in chunks(report_ids):
        c.execute(
            update(report)
            .where(among(c, report.c.id, some), report.c.deleted_at.is_(None))
            .values(deleted_at=now)
        )


def regroup(c: Connection, patient_keys: Mapping[int, str]) -> None:
    """Reports whose patient was corrected at the source: report id -> the right patient's key."""
    if patient_keys:
        c.execute(
            update(report).where(report.c.id == bindparam("of")).values(patient_key=bindparam("to")),
            [{"of": report_id, "to": key} for report_id, key in patient_keys.items()],
        )


def last_id(c: Connection) -> int:
    """The greatest report number given so far; 0 without reports."""
    return int(c.scalar(select(func.max(report.c.id))) or 0)


def standing(c: Connection, source_id: int, up_to: int) -> Iterator[int]:
    """Numbers of a source's reports that are not gone, up to a number, streamed in order."""
    # + 0 keeps SQLite from the index on the source, out of which it would have to sort every number in memory
    of_source = report.c.source_id + 0 == source_id
    query = (
        select(report.c.id)
        .where(of_source, report.c.deleted_at.is_(None), report.c.id <= up_to)
        .order_by(report.c.id)
    )
    yield from c.execution_options(yield_per=10_000).scalars(query)


def texts(c: Connection, version_ids: Sequence[int]) -> dict[int, str]:
    """Version id -> cleaned text, in the order of the ids; erased ones are left out."""
    query = select(report_version.c.id, report_version.c.text).where(report_version.c.text.is_not(None))
    found = {
        row.id: row.text
        for some in chunks(version_ids)
        for row in c.execute(query.where(among(c, report_version.c.id, some)))
    }
    return dict(sorted(found.items()))


def version_numbers(c: Connection, version_ids: Sequence[int]) -> dict[int, int]:
    """Version id -> 1, 2, 3... among its report's versions."""
    query = select(report_version.c.id, report_version.c.version)
    return {
        row.id: row.version
        for some in chunks(version_ids)
        for row in c.execute(query.where(among(c, report_version.c.id, some)))
    }


def _add_reports(c: Connection, source_id: int, contents: Sequence[Content], now: datetime) -> dict[str, int]:
    ids = next_ids(c, report, len(contents))
    load(
        c,
        report,
        {
            "id": ids,
            "external_id": [one.external_id for one in contents],
            "patient_key": [one.patient_key for one in contents],
        },
        every={"source_id": source_id, "current_version": 1, "created_at": now},
    )
    return dict(zip((one.external_id for one in contents), ids, strict=True))


def _move_on(c: Connection, report_ids: Sequence[int]) -> None:
    for some in chunks(report_ids):
        c.execute(
            update(report)
            .where(among(c, report.c.id, some))
            .values(current_version=report.c.current_version + 1, deleted_at=None)
        )


def _add_versions(
    c: Connection,
    run_id: int,
    contents: Sequence[Content],
    report_ids: Mapping[str, int],
    versions: Mapping[str, int],
    now: datetime,
) -> dict[str, int]:
    """`versions`: of those reports that had one already; every other gets its first."""
    ids = next_ids(c, report_version, len(contents))
    # the patient's key is the report's: what the table has no column for is passed over
    columns: dict[str, Sequence[Any]] = dict(zip(Content._fields, zip(*contents, strict=True), strict=True))
    names = columns["external_id"]
    columns |= {
        "id": ids,
        "report_id": [report_ids[name] for name in names],
        "version": [versions.get(name, 1) for name in names],
    }
    load(c, report_version, columns, every={"run_id": run_id, "created_at": now})
    return dict(zip(names, ids, strict=True))
