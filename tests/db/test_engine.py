"""What a transaction sees, on either database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, func, insert, make_url, select

from db.engine import reading, shown, writing
from db.tables import run
from tasks.settings import Settings
from tasks.status import status


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


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+psycopg://u:canary@h:5432/db", "postgresql+psycopg://u:***@h:5432/db"),
        ("postgresql+psycopg://h/db?user=u&password=canary", "postgresql+psycopg://h/db"),
        (
            "postgresql+psycopg://u@/db?host=%2Frun%2Fpg&sslpassword=canary",
            "postgresql+psycopg://u@/db?host=/run/pg",
        ),
        ("postgresql+psycopg://u@h/db?sslmode=require&passfile=canary", "postgresql+psycopg://u@h/db"),
        ("sqlite:////srv/laudos.db?key=canary", "sqlite:////srv/laudos.db"),
    ],
)
def test_a_password_in_the_query_of_a_url_is_shown_nowhere(url: str, told: str) -> None:
    assert shown(make_url(url)).replace("%2F", "/") == told


def test_status_tells_of_a_url_what_is_shown_alone(
    engine: Engine, database_url: str, configure: Callable[..., Settings]
) -> None:
    more = {"sqlite": {"timeout": "61"}, "postgresql": {"application_name": "canary"}}[engine.dialect.name]
    url = make_url(database_url).update_query_dict(more)
    settings = configure(database=url.render_as_string(hide_password=False))
    assert status(settings).database == shown(engine.url)
