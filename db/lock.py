"""Locks that the operating system or the server releases when their holder dies.

A lock file on SQLite (flock), an advisory lock on PostgreSQL: after a SIGKILL nobody has to clean up.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from db.engine import failure_of, raise_alone, reading
from db.errors import Busy, DatabaseFailure
from db.tables import run

# the first half of PostgreSQL's two-part lock key: ours, among whatever else uses the database
_NAMESPACE = "laudos"


@contextmanager
def exclusive(engine: Engine, name: str) -> Iterator[None]:
    """Hold the lock `name` of this database. Raises Busy, naming the runs under way, where another has it."""
    hold = _hold_row_of_server if engine.dialect.name == "postgresql" else _hold_file
    with hold(engine, name) as held:
        if not held:
            raise Busy(
                f"another process holds {name!r} of this database{_under_way(engine)}; try again later"
            )
        yield


def is_free(engine: Engine, name: str) -> bool:
    """Whether nobody holds the lock `name` at this moment."""
    hold = _hold_row_of_server if engine.dialect.name == "postgresql" else _hold_file
    with hold(engine, name) as held:
        return held


@contextmanager
def _hold_file(engine: Engine, name: str) -> Iterator[bool]:
    database = engine.url.database
    if not database or database == ":memory:":
        yield True  # nobody else can open it
        return
    path = Path(f"{Path(database).expanduser()}.{name}.lock")
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            if name.startswith("run-"):
                path.unlink(missing_ok=True)  # a run's number never comes again


@contextmanager
def _hold_row_of_server(engine: Engine, name: str) -> Iterator[bool]:
    key = (func.hashtext(_NAMESPACE), func.hashtext(name))
    failure: DatabaseFailure | None = None
    try:
        # a session lock outside any transaction: nothing stays open on the server while we work
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except SQLAlchemyError as error:
        failure = failure_of(error)
    if failure is not None:
        raise_alone(failure)
    try:
        # it is idle while we work: a server that ends idle sessions would let go of the lock with it
        connection.exec_driver_sql("SET idle_session_timeout = 0")
        held = bool(connection.scalar(select(func.pg_try_advisory_lock(*key))))
        try:
            yield held
        finally:
            if held:
                _unlock(connection, key)
    finally:
        with suppress(SQLAlchemyError):
            connection.close()


def _unlock(connection: Connection, key: tuple[object, object]) -> None:
    try:
        connection.execute(select(func.pg_advisory_unlock(*key)))
    except SQLAlchemyError:
        connection.invalidate()  # the server lets go of the lock together with the session


def _under_way(engine: Engine) -> str:
    """The runs that say they are running, for the message of a Busy."""
    if not inspect(engine).has_table(run.name):
        return ""
    with reading(engine) as c:
        rows = c.execute(
            select(run.c.kind, run.c.id, run.c.started_at).where(run.c.state == "running").order_by(run.c.id)
        ).all()
    told = ", ".join(f"{row.kind} run {row.id} since {row.started_at:%Y-%m-%d %H:%M} UTC" for row in rows)
    return f" ({told})" if told else ""
