"""What a transaction sees, on either database."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, func, insert, make_url, select

from db import schema
from db.engine import connect_args_of, open_engine, parse_url, reading, shown, writing
from db.errors import DatabaseFailure
from db.source_schema import open_source
from db.tables import run
from tasks.night.status import status
from tasks.settings.settings import Settings


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


@pytest.mark.postgres
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_who_writes_sees_what_others_have_committed_whatever_the_role_is_set_to(
    postgres_url: str, level: str
) -> None:
    schema.upgrade(postgres_url)
    name = make_url(postgres_url).database
    with writing(open_engine(postgres_url)) as c:
        c.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation TO '{level}'")
    engine = open_engine(postgres_url)
    count = select(func.count()).select_from(run)
    for _ in range(2):  # the second time in a session of the pool
        with writing(engine) as c:
            before = c.scalar(count)
            begin_a_run(engine)
            assert c.scalar(count) == before + 1
    engine.dispose()


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


@pytest.mark.postgres
@pytest.mark.parametrize("short", ["postgresql", "postgres"])
def test_a_url_that_names_no_driver_has_all_that_the_named_one_has(postgres_url: str, short: str) -> None:
    named = make_url(postgres_url)
    for opened in (open_engine, open_source):
        engine = opened(named.set(drivername=short).render_as_string())
        assert engine.url == named
        with engine.connect() as c:
            assert c.exec_driver_sql("SHOW DateStyle").scalar_one() == "ISO, MDY"
        engine.dispose()
    assert connect_args_of(parse_url(f"{short}://h/d")) == connect_args_of(named)


@pytest.mark.postgres
@pytest.mark.parametrize("style", ["SQL, DMY", "German"])
def test_moments_are_read_whatever_the_role_writes_them_as(postgres_url: str, style: str) -> None:
    name = make_url(postgres_url).database
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    for engine in (open_engine(postgres_url), open_source(postgres_url)):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            c.exec_driver_sql(f'ALTER DATABASE "{name}" SET DateStyle TO {style}')
        engine.dispose()
        with engine.connect() as c:
            assert c.exec_driver_sql("SELECT timestamptz '2026-03-02 12:00+00'").scalar_one() == at
        engine.dispose()


@pytest.mark.postgres
def test_texts_come_whole_whatever_encoding_the_role_is_set_to(postgres_url: str) -> None:
    text = "Nódulo ≥ 2 cm – “espiculado”"
    with writing(open_engine(postgres_url)) as c:
        name = make_url(postgres_url).database
        c.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET client_encoding TO 'LATIN1'")
        c.exec_driver_sql("CREATE TABLE laudos (texto TEXT)")
    ours, source = open_engine(postgres_url), open_source(postgres_url)
    with writing(ours) as c:
        c.exec_driver_sql("INSERT INTO laudos VALUES (%(text)s)", {"text": text})
    for engine in (ours, source):
        with engine.connect() as c:
            assert c.exec_driver_sql("SELECT texto FROM laudos").scalar_one() == text
        engine.dispose()


@pytest.mark.postgres
def test_a_database_that_cannot_be_reached_is_told_with_its_reason(postgres_url: str) -> None:
    url = make_url(postgres_url)
    for wrong, reason in (
        (url.set(database="nowhere"), 'database "nowhere" does not exist'),
        (url.set(username="nobody_here"), 'role "nobody_here" does not exist'),
        (url.set(port=1), "failed: "),
    ):
        with pytest.raises(DatabaseFailure, match=reason) as told, reading(open_engine(str_of(wrong))):
            pass
        assert str(told.value).startswith("the database cannot be reached: ")
        assert "canary" not in str(told.value)


def test_a_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        with writing(open_engine(f"sqlite:///{tmp_path}/new/laudos.db")) as c:
            c.exec_driver_sql("CREATE TABLE one (id INTEGER)")
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    finally:
        os.umask(old)
    assert modes == {"laudos.db": 0o600, "laudos.db-wal": 0o600, "laudos.db-shm": 0o600}


def str_of(url: URL) -> str:
    return url.set(password="canary").render_as_string(hide_password=False)
