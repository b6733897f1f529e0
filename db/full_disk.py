"""Databases with no room left, for tests and torture: moved to a small disk, or told that theirs is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, make_url

from db.engine import open_engine, writing


@contextmanager
def pages_limited(engine: Engine, more: int) -> Iterator[None]:
    """SQLite takes so many more pages and then says that it is full; only in this process."""
    with engine.connect() as c:
        pages = c.exec_driver_sql("PRAGMA page_count").scalar_one() + more

    def limit(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    engine.dispose()
    event.listen(engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(engine, "connect", limit)
        engine.dispose()


@contextmanager
def inserts_refused(engine: Engine, *tables: str) -> Iterator[None]:
    """PostgreSQL says on every insert into these what a full disk makes it say, in the same transaction."""
    with writing(engine) as c:
        c.exec_driver_sql(
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
        )
        for table in tables:
            c.exec_driver_sql(
                f"CREATE TRIGGER full_disk AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION no_room()"
            )
    try:
        yield
    finally:
        with writing(engine) as c:
            c.exec_driver_sql("DROP FUNCTION no_room CASCADE")


@contextmanager
def moved(engine: Engine, folder: Path) -> Iterator[None]:
    """The PostgreSQL database lies in `folder`, an empty one of the server's user; afterwards it is back."""
    name = make_url(engine.url).database
    admin = open_engine(engine.url.set(database="postgres").render_as_string(hide_password=False))
    by_itself = admin.execution_options(isolation_level="AUTOCOMMIT")

    def move(tablespace: str) -> None:
        engine.dispose()
        with by_itself.connect() as c:
            c.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %(name)s",
                {"name": name},
            )
            c.exec_driver_sql(f"ALTER DATABASE {name} SET TABLESPACE {tablespace}")

    with by_itself.connect() as c:
        c.exec_driver_sql(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
    move(str(name))
    try:
        yield
    finally:
        move("pg_default")
        with by_itself.connect() as c:
            c.exec_driver_sql(f"DROP TABLESPACE {name}")
        admin.dispose()
