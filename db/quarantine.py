"""Rows that could not be taken in, with why and as they were read; nothing is dropped.

`unknown_label` and `scoring_failed` stand beside a report that was taken in, each for one classifier; every
other reason stands in its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, exists, func, select, update

from db.among import among, chunks
from db.engine import insert_into
from db.tables import quarantine, report, report_version, source

UNKNOWN_LABEL = "unknown_label"
SCORING_FAILED = "scoring_failed"
READ_AGAIN = "its row was read again since"
BESIDE_A_REPORT = (UNKNOWN_LABEL, SCORING_FAILED)


@dataclass(frozen=True)
class Refused:
    """A row that could not be taken in; `payload` is the row as read, None ids are empty.

    `classifier`: whose label or model it is about, empty where it is about the row itself.
    """

    external_id: str
    raw_sha: str
    reason: str
    payload: dict[str, Any] = field(repr=False)
    classifier: str = ""


@dataclass(frozen=True)
class Entry:
    """A quarantined row as a list shows it: no content."""

    id: int
    source: str
    external_id: str
    reason: str
    classifier: str
    state: str
    seen: int
    first_seen_at: datetime
    last_seen_at: datetime
    closed_because: str | None


@dataclass(frozen=True)
class Group:
    """What waits of one source for one reason. `last`: the highest number among these rows."""

    source: str
    reason: str
    rows: int
    first_seen_at: datetime
    last_seen_at: datetime
    last: int


def add(c: Connection, run_id: int, source_id: int, rows: Iterable[Refused], now: datetime) -> None:
    """Put rows into quarantine. One that lies there already is counted; a dismissed one stays dismissed."""
    values = [
        {
            "source_id": source_id,
            "external_id": one.external_id,
            "raw_sha": one.raw_sha,
            "reason": one.reason,
            "classifier": one.classifier,
            "payload": json.dumps(one.payload).encode("ascii"),
            "first_run_id": run_id,
            "first_seen_at": now,
            "last_seen_at": now,
        }
        for one in rows
    ]
    if not values:
        return
    q = quarantine.c
    key = [q.source_id, q.external_id, q.raw_sha, q.reason, q.classifier]
    again = quarantine.c.state == "resolved"
    c.execute(
        insert_into(c, quarantine).on_conflict_do_update(
            index_elements=key,
            set_={
                "seen": quarantine.c.seen + 1,
                "last_seen_at": now,
                "state": case((again, "waiting"), else_=quarantine.c.state),
                "closed_at": case((again, None), else_=quarantine.c.closed_at),
                "closed_because": case((again, None), else_=quarantine.c.closed_because),
            },
        ),
        values,
    )


def scoring_failed(classifier: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a report's version is one that the classifier's model failed on and nobody let try again."""
    return exists().where(
        quarantine.c.source_id == report.c.source_id,
        quarantine.c.external_id == report.c.external_id,
        quarantine.c.raw_sha == report_version.c.raw_sha,
        quarantine.c.reason == SCORING_FAILED,
        # empty: an earlier laudos did not keep whose model it was
        quarantine.c.classifier.in_(("", classifier)),
        quarantine.c.state != "resolved",
    )


def other_content_waits() -> ColumnElement[bool]:
    """Whether another content of a report lies in its place: what the report says now may be out of date."""
    return exists().where(
        quarantine.c.source_id == report.c.source_id,
        quarantine.c.external_id == report.c.external_id,
        quarantine.c.reason.not_in(BESIDE_A_REPORT),
        quarantine.c.state == "waiting",
    )


def resolve(
    c: Connection,
    source_id: int,
    external_ids: Sequence[str],
    now: datetime,
    *,
    labels: bool,
) -> None:
    """Close what waits for these reports: with `labels` their unknown labels, else what kept them out."""
    reason = quarantine.c.reason
    asked = reason == UNKNOWN_LABEL if labels else reason.not_in(BESIDE_A_REPORT)
    waits = [quarantine.c.source_id == source_id, quarantine.c.state == "waiting", asked]
    # mostly nothing waits at all: one look spares a page's worth of ids
    if c.scalar(select(quarantine.c.id).where(*waits).limit(1)) is None:
        return
    for some in chunks(external_ids):
        c.execute(
            update(quarantine)
            .where(*waits, among(c, quarantine.c.external_id, some))
            .values(state="resolved", closed_at=now, closed_because=READ_AGAIN)
        )


def close(c: Connection, ids: Sequence[int], now: datetime, because: str) -> None:
    """Mark waiting rows as resolved, by number."""
    for some in chunks(ids):
        c.execute(
            update(quarantine)
            .where(among(c, quarantine.c.id, some), quarantine.c.state == "waiting")
            .values(state="resolved", closed_at=now, closed_because=because)
        )


def dismiss(c: Connection, number: int, because: str, now: datetime) -> bool:
    """Close a waiting row for good; False where no such row waits."""
    done = c.execute(
        update(quarantine)
        .where(quarantine.c.id == number, quarantine.c.state == "waiting")
        .values(state="dismissed", closed_at=now, closed_because=because)
    )
    return done.rowcount == 1


def dismiss_all(c: Connection, source_name: str, reason: str, up_to: int, because: str, now: datetime) -> int:
    """Close for good what waits of a source for one reason, up to a number; how many rows."""
    sources = select(source.c.id).where(source.c.name == source_name)
    done = c.execute(
        update(quarantine)
        .where(
            quarantine.c.source_id.in_(sources),
            quarantine.c.reason == reason,
            quarantine.c.state == "waiting",
            quarantine.c.id <= up_to,
        )
        .values(state="dismissed", closed_at=now, closed_because=because)
    )
    return done.rowcount


def groups(c: Connection, source_name: str | None = None, reason: str | None = None) -> list[Group]:
    """What waits, by source and reason, the most frequent first."""
    q = quarantine.c
    rows = func.count()
    query = select(
        source.c.name, q.reason, rows, func.min(q.first_seen_at), func.max(q.last_seen_at), func.max(q.id)
    ).join(source, source.c.id == q.source_id)
    query = query.where(*_waiting_of(source_name, reason)).group_by(source.c.name, q.reason)
    found = c.execute(query.order_by(rows.desc(), source.c.name, q.reason))
    return [Group(*row) for row in found]


def entries(
    c: Connection,
    source_name: str | None = None,
    reason: str | None = None,
    *,
    after: int = 0,
    limit: int | None = None,
) -> list[Entry]:
    """What waits, oldest first, without content."""
    query = _entries().where(*_waiting_of(source_name, reason), quarantine.c.id > after)
    return [Entry(*row) for row in c.execute(query.order_by(quarantine.c.id).limit(limit))]


def entry(c: Connection, number: int) -> tuple[Entry, dict[str, Any]] | None:
    """One quarantined row and its content as read; None where there is none of that number."""
    row = c.execute(
        _entries().add_columns(quarantine.c.payload).where(quarantine.c.id == number)
    ).one_or_none()
    return None if row is None else (Entry(*row[:-1]), json.loads(row[-1]))


def waiting(
    c: Connection, source_id: int, after: int, rows: int, *, labels: bool, only: str | None = None
) -> list[tuple[int, str, dict[str, Any]]]:
    """A page of (number, reason, content) to try again: unknown labels, or what kept reports out.

    `only`: of these the rows with this reason.
    """
    reason = quarantine.c.reason
    asked: ColumnElement[bool] = reason == UNKNOWN_LABEL if labels else reason.not_in(BESIDE_A_REPORT)
    query = (
        select(quarantine.c.id, reason, quarantine.c.payload)
        .where(
            quarantine.c.source_id == source_id,
            quarantine.c.state == "waiting",
            quarantine.c.id > after,
            asked,
        )
        .order_by(quarantine.c.id)
        .limit(rows)
    )
    if only is not None:
        query = query.where(reason == only)
    return [(row.id, row.reason, json.loads(row.payload)) for row in c.execute(query)]


def _waiting_of(source_name: str | None, reason: str | None) -> list[ColumnElement[bool]]:
    asked = [quarantine.c.state == "waiting"]
    if source_name is not None:
        asked.append(source.c.name == source_name)
    if reason is not None:
        asked.append(quarantine.c.reason == reason)
    return asked


def _entries() -> Select[Any]:
    q = quarantine.c
    return select(
        q.id,
        source.c.name,
        q.external_id,
        q.reason,
        q.classifier,
        q.state,
        q.seen,
        q.first_seen_at,
        q.last_seen_at,
        q.closed_because,
    ).join(source, source.c.id == q.source_id)
