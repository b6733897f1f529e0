"""Who did what, hash-chained: each row's sha covers its content and the row before it.

Editing or deleting a row in the middle breaks the chain from there on, and `broken` finds it.
Cutting off the newest rows leaves a shorter, sound chain: keep the last sha elsewhere (a back-up,
a printed report) where that matters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, text

from db.tables import audit

FIRST_SHA = "0" * 64


@dataclass(frozen=True)
class Broken:
    """The row where the chain does not hold, and what is wrong with it."""

    audit_id: int
    what: str


def record(
    c: Connection, *, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: datetime
) -> str:
    """Append one row in the caller's transaction; returns its sha.

    `detail` must be plain JSON (finite numbers) and hold ids and counts only.
    """
    if c.dialect.name == "postgresql":
        # two appends at once would both build on the same row; SQLite's write lock rules that out already.
        # No lock on the table: that takes rights to change its rows, which laudos_writer has not
        c.execute(text("SELECT pg_advisory_xact_lock(hashtext('laudos'), hashtext('audit'))"))
    previous = c.scalar(select(audit.c.sha).order_by(audit.c.id.desc()).limit(1)) or FIRST_SHA
    sha = _sha(previous, now, actor, action, subject, detail)
    c.execute(
        insert(audit).values(
            at=now,
            actor=actor,
            action=action,
            subject=subject,
            detail=dict(detail),
            previous_sha=previous,
            sha=sha,
        )
    )
    return sha


def holds(c: Connection, *, action: str, subject: str) -> bool:
    """Whether a row says this of that."""
    of = (audit.c.action == action, audit.c.subject == subject)
    return c.scalar(select(audit.c.id).where(*of).limit(1)) is not None


def broken(c: Connection) -> list[Broken]:
    """Every row that was altered, and every place where a row was taken out; empty = sound."""
    found = []
    previous = FIRST_SHA
    for row in c.execute(select(audit).order_by(audit.c.id)):
        if row.previous_sha != previous:
            found.append(Broken(row.id, "the row before it was altered or removed"))
        if row.sha != _sha(row.previous_sha, row.at, row.actor, row.action, row.subject, row.detail):
            found.append(Broken(row.id, "its content was altered"))
        previous = row.sha
    return found


def _sha(
    previous: str, at: datetime, actor: str, action: str, subject: str, detail: Mapping[str, Any]
) -> str:
    content = {
        "at": at.astimezone(UTC).isoformat(),
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": detail,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256((previous + canonical).encode()).hexdigest()
