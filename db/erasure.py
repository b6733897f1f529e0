"""Reports that must go on request: what is held of them, and its removal in one transaction.

A tombstone stays: a report's number, its source and its id there (or the next ingest would bring it back),
when it came in and went, and what models answered. Nothing else that was read off its text stays, nor whose
it was.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
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
    or_,
    select,
    text,
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

Place = tuple[int, str]  # a source, and an id there

FINISHED: Final = "erasure_finished"  # the action of the audit that follows BEGUN
_READ_OFF_IT: Final = (evidence, shadow_prediction, feature, label, patient_group)
TOUCHED: Final = (report, report_version, quarantine, *_READ_OFF_IT)


@dataclass(frozen=True)
class Found:
    """What a request is about, by number. `barred`: where what never became a report would come from.
    `returning`: rows in quarantine whose id is a report of another patient's, so that nothing keeps them out.
    """

    reports: list[int]
    quarantined: list[int]
    barred: list[Place]
    returning: int

    def __bool__(self) -> bool:
        return bool(self.reports or self.quarantined)


@dataclass(frozen=True)
class Held:
    """How much is held of a request's reports; `erased_before`: of the reports, earlier. `versions`: not
    counting those that were emptied then."""

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
    them; and which of the ids and keys something is known of.

    All rows in quarantine under an id that must stay out go, whoever's they say they are.
    """
    named = {(of_source, one) for one in external_ids if of_source is not None}
    keys, known = set(patient_keys), set[str]()
    reports = _at(c, report, named)
    columns = select(report.c.id, report.c.source_id, report.c.external_id, report.c.patient_key)
    for some in chunks(patient_keys):
        for number, of, external_id, key in c.execute(columns.where(among(c, report.c.patient_key, some))):
            reports[number] = (of, external_id)
            known.add(key)
    theirs = {}
    for number, place, key in _quarantined(c) if keys else ():
        if key in keys:
            theirs[number] = place
            known.add(key)
    places = {place for place in theirs.values() if place[1]}
    taken = set(_at(c, report, places).values())
    never = places - taken
    out = _at(c, quarantine, named | never | set(reports.values()))
    barred = set(out.values()) - set(reports.values())
    known |= {place[1] for place in (*reports.values(), *out.values()) if place in named}
    returning = sum(place in taken and number not in out for number, place in theirs.items())
    return Found(sorted(reports), sorted(theirs | out), sorted(barred), returning), known


def _at(c: Connection, table: Table, places: Collection[Place]) -> dict[int, Place]:
    """The rows there, by number: reports, or what lies in quarantine."""
    found: dict[int, Place] = {}
    for of in {of for of, _ in places}:
        query = select(table.c.id, table.c.external_id).where(table.c.source_id == of)
        for some in chunks(sorted(name for source_of, name in places if source_of == of)):
            rows = c.execute(query.where(among(c, table.c.external_id, some)))
            found |= {row.id: (of, row.external_id) for row in rows}
    return found


def _quarantined(c: Connection) -> Iterator[tuple[int, Place, str | None]]:
    """(number, place, patient's key if its content has one) of every row, streamed."""
    q = quarantine.c
    query = select(q.id, q.source_id, q.external_id, q.payload).execution_options(yield_per=1000)
    for row in c.execute(query):
        yield row.id, (row.source_id, row.external_id), json.loads(row.payload).get("patient_key")


def held(c: Connection, found: Found) -> Held:
    """Counts of what `erase` would remove; predictions would stay."""
    counted: dict[str, int] = defaultdict(int)
    for some in chunks(found.reports):
        mine = among(c, report.c.id, some)
        counted["reports"] += _count(c, report, mine)
        counted["erased_before"] += _count(c, report, mine, report.c.erased_at.is_not(None))
        whole = report_version.c.raw_sha != ERASED_SHA
        counted["versions"] += _count(c, report_version, among(c, report_version.c.report_id, some), whole)
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
    """Erased reports of which a text, anything read off one or a row in quarantine is there all the same."""
    version = report_version.c
    mine = select(version.id).where(version.report_id == report.c.id)
    same = (quarantine.c.source_id == report.c.source_id) & (quarantine.c.external_id == report.c.external_id)
    left = [
        mine.where(version.text.is_not(None) | (version.raw_sha != ERASED_SHA)).exists(),
        *(mine.join(table, table.c.report_version_id == version.id).exists() for table in _READ_OFF_IT),
        select(quarantine.c.id).where(same).exists(),
    ]
    return select(report.c.id).where(report.c.erased_at.is_not(None), or_(*left))


def unfinished(c: Connection) -> list[str]:
    """Subjects of erasures whose files and free pages were not seen to yet."""
    done = select(audit.c.subject).where(audit.c.action == FINISHED)
    begun = select(audit.c.subject).where(audit.c.action == BEGUN, audit.c.subject.not_in(done))
    return list(c.scalars(begun.order_by(audit.c.id)))
