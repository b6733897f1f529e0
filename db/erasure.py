"""Reports that must go on request: what is held of them, and its removal in one transaction.

A tombstone stays: a report's number, its source and its id there (or the next ingest would bring it back),
when it came in and went, and what models answered. Nothing else that was read off its text stays, nor whose
it was.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    delete,
    func,
    insert,
    select,
    text,
    union,
    update,
)

from db.among import among, chunks
from db.lessons import BEGUN, ERASED_SHA, lessons
from db.tables import (
    audit,
    evidence,
    feature,
    label,
    patient_group,
    prediction,
    quarantine,
    report,
    report_version,
    shadow_prediction,
    source,
)

FINISHED: Final = "erasure_finished"  # the action of the audit that follows BEGUN
_READ_OFF_IT: Final = (evidence, shadow_prediction, feature, label, patient_group)
TOUCHED: Final = (report, report_version, quarantine, *_READ_OFF_IT)


@dataclass(frozen=True)
class Found:
    """What a request is about, by number. `barred`: (source, id there) of what never became a report."""

    reports: list[int]
    quarantined: list[int]
    barred: list[tuple[int, str]]

    def __bool__(self) -> bool:
        return bool(self.reports or self.quarantined)


@dataclass(frozen=True)
class Held:
    """How much is held of a request's reports; `erased_before`: of the reports, earlier."""

    reports: int
    erased_before: int
    versions: int
    predictions: int
    vectors: int
    labels: int
    quarantined: int
    training_sets: int


def alone(c: Connection) -> None:
    """Wait until nobody is writing what was read off texts, and keep all who do out until this ends.

    PostgreSQL alone needs it: SQLite has one writer at a time.
    """
    _lock(c, "pg_advisory_xact_lock")


def held_off(c: Connection) -> None:
    """Let no erasure in until this transaction ends: a text that is there now, is there when it ends."""
    _lock(c, "pg_advisory_xact_lock_shared")


def _lock(c: Connection, function: str) -> None:
    if c.dialect.name == "postgresql":
        c.execute(text(f"SELECT {function}(hashtext('laudos'), hashtext('erase'))"))


def source_id(c: Connection, name: str) -> int | None:
    """A hospital's source, whether or not laudos.toml still names it."""
    return c.scalar(select(source.c.id).where(source.c.name == name, source.c.kind == "database"))


def find(
    c: Connection, of_source: int | None, external_ids: Sequence[str], patient_keys: Sequence[str]
) -> tuple[Found, set[str]]:
    """Reports of a source by their ids there, and all of these patients, with what lies in quarantine of
    them; and which of the ids and keys something is known of."""
    wanted = {(of_source, one) for one in external_ids if of_source is not None}
    numbers: dict[int, tuple[int, str]] = {}
    known: set[str] = set()
    keys = set(patient_keys)
    columns = select(report.c.id, report.c.source_id, report.c.external_id, report.c.patient_key)
    for some in chunks(external_ids):
        ours = columns.where(report.c.source_id == of_source, among(c, report.c.external_id, some))
        numbers |= {row.id: (row.source_id, row.external_id) for row in c.execute(ours)}
    known |= {external_id for _, external_id in numbers.values()}
    for some in chunks(patient_keys):
        for row in c.execute(columns.where(among(c, report.c.patient_key, some))):
            numbers[row.id] = (row.source_id, row.external_id)
            known.add(row.patient_key)
    wanted |= set(numbers.values())
    waiting = {}
    for number, place, key in _quarantined(c):
        if place in wanted or key in keys:
            waiting[number] = place
            known |= {key} if key in keys else {place[1]} if place[0] == of_source else set()
    never = {place for place in waiting.values() if place[1]} - _taken_in(c, waiting.values())
    return Found(sorted(numbers), sorted(waiting), sorted(never)), known


def _quarantined(c: Connection) -> Any:
    """(number, (source, id there), patient key if its content has one) of every row, streamed."""
    q = quarantine.c
    query = select(q.id, q.source_id, q.external_id, q.payload).execution_options(yield_per=1000)
    for row in c.execute(query):
        yield row.id, (row.source_id, row.external_id), json.loads(row.payload).get("patient_key")


def _taken_in(c: Connection, places: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    names = sorted({external_id for _, external_id in places})
    query = select(report.c.source_id, report.c.external_id)
    return {
        (row.source_id, row.external_id)
        for some in chunks(names)
        for row in c.execute(query.where(among(c, report.c.external_id, some)))
    }


def held(c: Connection, found: Found) -> Held:
    """Counts of what `erase` would remove; predictions would stay."""
    counted: dict[str, int] = defaultdict(int)
    for some in chunks(found.reports):
        mine = among(c, report.c.id, some)
        counted["reports"] += _count(c, report, mine)
        counted["erased_before"] += _count(c, report, mine, report.c.erased_at.is_not(None))
        counted["versions"] += _count(c, report_version, among(c, report_version.c.report_id, some))
        for name, table in (("predictions", prediction), ("vectors", feature), ("labels", label)):
            counted[name] += _count(c, table, table.c.report_version_id.in_(_versions(c, some)))
    counted["quarantined"] = len(found.quarantined)
    counted["training_sets"] = len(lessons(c, found.reports))
    return Held(**{name.name: counted[name.name] for name in fields(Held)})


def _count(c: Connection, table: Table, *where: ColumnElement[bool]) -> int:
    return int(c.scalar(select(func.count()).select_from(table).where(*where)) or 0)


def _versions(c: Connection, report_ids: Sequence[int]) -> Any:
    return select(report_version.c.id).where(among(c, report_version.c.report_id, report_ids))


def erase(c: Connection, found: Found, now: datetime) -> None:
    """Remove what is held of them. Call `alone` first in the same transaction."""
    if c.dialect.name == "sqlite":
        c.exec_driver_sql("PRAGMA secure_delete = ON")  # a kill before `wipe` leaves less
    for some in chunks(found.reports):
        for table in _READ_OFF_IT:
            c.execute(delete(table).where(table.c.report_version_id.in_(_versions(c, some))))
        emptied = dict.fromkeys(("text", "report_date", "institution", "source_updated_at"))
        mine = among(c, report_version.c.report_id, some)
        c.execute(update(report_version).where(mine).values(raw_sha=ERASED_SHA, repairs={}, **emptied))
    _forget_patients(c, found.reports)
    for some in chunks(found.reports):
        gone = update(report).where(among(c, report.c.id, some), report.c.erased_at.is_(None))
        c.execute(gone.values(erased_at=now))
    for some in chunks(found.quarantined):
        c.execute(delete(quarantine).where(among(c, quarantine.c.id, some)))
    if found.barred:
        stone = {"patient_key": "erased", "current_version": 0, "created_at": now, "erased_at": now}
        rows = [{"source_id": of, "external_id": name} | stone for of, name in found.barred]
        c.execute(insert(report), rows)


def _forget_patients(c: Connection, report_ids: Sequence[int]) -> None:
    """In the place of each patient's key one that no patient has; reports of one patient still share it."""
    first: dict[str, int] = {}
    query = select(report.c.patient_key, func.min(report.c.id)).where(report.c.erased_at.is_(None))
    for some in chunks(report_ids):
        for key, number in c.execute(query.where(among(c, report.c.id, some)).group_by(report.c.patient_key)):
            first[key] = min(number, first.get(key, number))
    for some in chunks(report_ids):
        for key, number in first.items():
            mine = (among(c, report.c.id, some), report.c.patient_key == key)
            c.execute(update(report).where(*mine).values(patient_key=f"erased {number}"))


def lift(c: Connection, of_source: int, external_ids: Sequence[str]) -> int:
    """Let the source's present content of these in again, as a new version; how many were erased."""
    done = 0
    for some in chunks(external_ids):
        mine = [report.c.source_id == of_source, among(c, report.c.external_id, some)]
        mine.append(report.c.erased_at.is_not(None))
        done += c.execute(delete(report).where(*mine, report.c.current_version == 0)).rowcount
        done += c.execute(update(report).where(*mine).values(erased_at=None)).rowcount
    return done


def with_something_left() -> Select[Any]:
    """Erased reports of which a text, a vector or a row in quarantine is there all the same."""
    gone = report.c.erased_at.is_not(None)
    version = select(report.c.id).join(report_version, report_version.c.report_id == report.c.id).where(gone)
    same = (quarantine.c.source_id == report.c.source_id) & (quarantine.c.external_id == report.c.external_id)
    found = union(
        version.where(report_version.c.text.is_not(None)),
        version.join(feature, feature.c.report_version_id == report_version.c.id),
        select(report.c.id).join(quarantine, same).where(gone),
    ).subquery()
    return select(found.c.id)


def unfinished(c: Connection) -> list[str]:
    """Subjects of erasures whose files and free pages were not seen to yet."""
    done = select(audit.c.subject).where(audit.c.action == FINISHED)
    begun = select(audit.c.subject).where(audit.c.action == BEGUN, audit.c.subject.not_in(done))
    return list(c.scalars(begun.order_by(audit.c.id)))
