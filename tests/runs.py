"""Runs in the ledger, for what writes under the number of one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, insert

from db import ledger
from db.engine import writing
from db.tables import run


def begin(engine: Engine, kind: str, now: datetime) -> int:
    """Begin one of no code and no settings in particular; returns its number."""
    with writing(engine) as c:
        return ledger.begin_run(
            c, kind, code_revision="-", config_sha="-", prefect_run_id=None, parent_id=None, now=now
        )


def ran(
    engine: Engine, kind: str, at: datetime, failure: str | None = None, parent: int | None = None
) -> int:
    """A run that took no time at all."""
    row = {"kind": kind, "code_revision": "x", "config_sha": "x", "parent_id": parent, "failure": failure}
    row |= {"state": "failed" if failure else "completed", "started_at": at, "ended_at": at}
    with writing(engine) as c:
        return int(c.execute(insert(run).values(row).returning(run.c.id)).scalar_one())
