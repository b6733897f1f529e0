"""A run in the ledger, for what writes under the number of one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine

from db import ledger
from db.engine import writing


def begin(engine: Engine, kind: str, now: datetime) -> int:
    """Begin one of no code and no settings in particular; returns its number."""
    with writing(engine) as c:
        return ledger.begin_run(
            c, kind, code_revision="-", config_sha="-", prefect_run_id=None, parent_id=None, now=now
        )
