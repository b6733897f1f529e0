"""What a transaction sees, on either database."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine, func, insert, select

from db.engine import reading, writing
from db.tables import run


def begin_a_run(engine: Engine) -> None:
    values = {"kind": "monitor", "state": "running", "code_revision": "", "config_sha": ""}
    with writing(engine) as c:
        c.execute(insert(run).values(values | {"started_at": datetime.now(UTC)}))


def test_a_reading_sees_one_state_of_the_database(engine: Engine) -> None:
    count = select(func.count()).select_from(run)
    with reading(engine) as c:
        assert c.scalar(count) == 0
        begin_a_run(engine)
        assert c.scalar(count) == 0
    with reading(engine) as c:
        assert c.scalar(count) == 1


def test_a_session_that_read_one_state_writes_on_what_stands(engine: Engine) -> None:
    """On PostgreSQL a level of isolation stays with the session unless it is taken back."""
    with reading(engine) as c:
        c.scalar(select(run.c.id))
    with writing(engine) as c:
        count = select(func.count()).select_from(run)
        assert c.scalar(count) == 0
        if engine.dialect.name == "postgresql":  # SQLite lets nobody else write meanwhile
            begin_a_run(engine)
            assert c.scalar(count) == 1
