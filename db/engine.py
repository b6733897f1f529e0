"""Opening a database: the same behaviour on SQLite and PostgreSQL, and errors without report text.

Whoever owns a transaction opens it with `reading` or `writing`; queries take the Connection.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from db.errors import ConfigurationError, DatabaseFailure

# longer than any transaction of ours: another program holding the lock is the rare case worth waiting for
SQLITE_BUSY_TIMEOUT_S = 60.0
# a client that vanished without a word holds its locks until PostgreSQL ends its transaction: none of ours
# that writes is ever idle for so long
IDLE_TRANSACTION_S = 60
# a server that vanished is noticed after some two minutes; by itself the system would wait for hours
POSTGRES_TIMEOUTS = {
    "keepalives_idle": 60,
    "keepalives_interval": 15,
    "keepalives_count": 4,
    "tcp_user_timeout": 120_000,  # milliseconds
}

_PLACES = {"host", "port", "dbname", "service"}
# whose waits, errors and back-ups laudos knows
_OF_OUR_OWN = {("sqlite", "pysqlite"), ("postgresql", "psycopg")}


def open_engine(url: str, sessions: int = 5) -> Engine:
    """An engine on `url` that keeps so many sessions; nothing is connected yet.

    Raises ConfigurationError for an unusable URL.
    """
    parsed = parse_url(url, own=True)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite and parsed.database and parsed.database != ":memory:":
        _its_owners_alone(Path(parsed.database).expanduser())
    engine = create_engine(
        parsed,
        hide_parameters=True,
        pool_size=sessions,
        pool_pre_ping=not is_sqlite,
        connect_args=connect_args_of(parsed),
    )
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "handle_error", _let_go_when_stopped)
    else:
        # before SQLAlchemy's own look at the server
        event.listen(engine, "connect", in_utf8_and_iso, insert=True)
        event.listen(engine, "begin", _begin_postgres)
    return engine


def _its_owners_alone(path: Path) -> None:
    """Make a file that is not there, for its owner alone: every text will stand in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # what opens it says what is wrong
        path.touch(0o600)


def connect_args_of(url: URL) -> dict[str, Any]:
    """How long to wait for whom, and no plans kept; what the URL says of waiting counts more."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": SQLITE_BUSY_TIMEOUT_S}
    if url.drivername != "postgresql+psycopg":
        return {}  # another driver may know none of these
    waits = {name: value for name, value in POSTGRES_TIMEOUTS.items() if name not in url.query}
    # a plan that psycopg had the server keep from when a table was small would be used on when it is large
    return {**waits, "prepare_threshold": None}


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes. SQLite takes its one write lock at the start, not half-way.

    On PostgreSQL each statement sees what was committed before it, whatever the role's default says: who has
    waited for a lock decides by what whoever held it has written.
    """
    with _scrubbed(), engine.connect().execution_options(laudos_writes=True) as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, and sees one state of the database: what its first statement saw."""
    with _scrubbed(), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # left to itself, each statement sees what was committed before it
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def insert_into(c: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that may go on with ON CONFLICT, which SQLAlchemy knows by dialect only."""
    return postgresql.insert(table) if c.dialect.name == "postgresql" else sqlite.insert(table)


@contextmanager
def rehearsing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write, of which nothing is kept."""
    with writing(engine) as connection:
        yield connection
        connection.rollback()


@contextmanager
def _scrubbed() -> Iterator[None]:
    """Turn database errors into DatabaseFailures that carry neither statement nor parameters.

    `hide_parameters` alone leaks: PostgreSQL's DETAIL line quotes the offending row.
    """
    failure: DatabaseFailure | None = None
    try:
        yield
    except SQLAlchemyError as error:
        failure = failure_of(error)
    if failure is not None:
        raise_alone(failure)


def raise_alone(failure: DatabaseFailure) -> NoReturn:
    """Raise it without the driver's error as its context: whoever prints the whole chain would print rows."""
    try:
        raise failure
    finally:
        failure.__context__ = None  # within a `with` that an error ends, raising sets it


def failure_of(error: SQLAlchemyError, *, ours: bool = True) -> DatabaseFailure:
    """What may be told about a database error: its type and code, and what helps if it is `ours`."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return DatabaseFailure(f"{type(error).__name__} from the database layer")
    original: Any = error.orig
    code = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    if code is None and os.strerror(errno.ENOSPC) in str(original):
        code = "53100"  # a session that PostgreSQL could not begin: psycopg knows no code then
    if code is None and error.statement is None and type(original).__module__.startswith("psycopg"):
        # it was never connected: nothing of ours was sent that could be quoted
        return DatabaseFailure(f"the database cannot be reached: {_in_one_line(original)}", retryable=True)
    place = f" (table {original.diag.table_name})" if _names_a_table(original) else ""
    advice = _ADVICE.get(str(code), _ADVICE_OURS.get(str(code), "") if ours else "")
    retryable = error.connection_invalidated or code in _RETRYABLE or _lost(original)
    return DatabaseFailure(
        f"{type(original).__name__} {code or 'without a code'} from the database{place}{advice}",
        retryable=bool(retryable),
    )


_ADVICE = {
    "SQLITE_BUSY": ": another program holds the lock; close it and run again",
    "SQLITE_FULL": ": the disk is full; free some space and run again, nothing was lost",
    "SQLITE_IOERR_WRITE": ": the disk cannot be written; check space and permissions",
    "SQLITE_CANTOPEN": ": the file cannot be opened; check the path and its permissions",
    "SQLITE_READONLY": ": the file is read-only for this user",
    "SQLITE_NOTADB": ": the file is no SQLite database",
    "SQLITE_CORRUPT": ": the file is damaged; restore the last back-up",
    "55P03": ": another session holds the lock; see who with pg_stat_activity and run again",
    "53100": ": the disk is full; free some space and run again, nothing was lost",
    "25006": ": it takes no writing now: a standby, or a role that may only read",
    "57014": ": it cut the statement off; laudos' user needs statement_timeout = 0",
    "42501": ": this user lacks the permission",
}
_ADVICE_OURS = {"42P01": ': a table is missing; run "laudos db upgrade"'}
_RETRYABLE = {"SQLITE_BUSY", "SQLITE_LOCKED", "40001", "40P01", "55P03", "57P01", "57P02", "57P03", "08006"}


def _in_one_line(original: BaseException) -> str:
    return " ".join(str(original).removeprefix("connection failed: ").split())


def _lost(original: BaseException) -> bool:
    """psycopg reports a dead server as an OperationalError without a code."""
    return type(original).__name__ == "OperationalError" and getattr(original, "sqlstate", "") is None


def _names_a_table(original: Any) -> bool:
    return bool(getattr(getattr(original, "diag", None), "table_name", None))


def parse_url(url: str, *, own: bool = False) -> URL:
    """The URL, its driver being named, installed and fit for a source, or for laudos' `own` tables.

    Raises ConfigurationError, which never quotes the URL.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")  # the one that comes with laudos
        dialect = parsed.get_dialect()
        if own and (dialect.is_async or (dialect.name, dialect.driver) not in _OF_OUR_OWN):
            raise ConfigurationError(
                f"laudos keeps its own tables in sqlite or postgresql+psycopg, not in {parsed.drivername}"
            )
        if dialect.is_async:
            raise ConfigurationError(
                f"the driver of {parsed.drivername} is asynchronous, and laudos cannot use it; name another, "
                "such as postgresql+psycopg"
            )
        dialect.import_dbapi()
    except NoSuchModuleError:
        raise ConfigurationError(
            f"no database driver is known as {url.split(':', 1)[0]!r}; "
            "laudos itself uses sqlite or postgresql+psycopg"
        ) from None
    except (ArgumentError, ValueError):  # ValueError: its port is no number
        raise ConfigurationError(
            "a database URL could not be read; it looks like sqlite:///laudos.db "
            "or postgresql+psycopg://user:${PASSWORD}@host/name"
        ) from None
    except ImportError as missing:
        raise ConfigurationError(
            f"the driver {missing.name!r} for {parsed.drivername} is not installed; "
            f"run: pip install {missing.name}"
        ) from None
    return parsed


def shown(url: URL) -> str:
    """Which database it is, for people: no password, and of the query, which may hold one, places alone."""
    query = {name: value for name, value in url.query.items() if name in _PLACES}
    return url.set(query=query).render_as_string(hide_password=True)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    # 16 MiB of pages in memory: the keys of a million reports are looked up in no order; twice that is no
    # quicker, and at a million reports a comparison then takes a tenth more memory than at a hundred thousand
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL", "cache_size = -16384"):
        connection.execute(f"PRAGMA {pragma}")


def in_utf8_and_iso(connection: Any, _record: object) -> None:
    """Have PostgreSQL take and give every text, and write moments as psycopg reads them, whatever its role or
    server is set to."""
    connection.autocommit = True  # what a transaction sets would go when it is rolled back
    encodings = [connection.info.parameter_status(f"{end}_encoding") for end in ("server", "client")]
    # a database in SQL_ASCII converts nothing: what was named for it says how its texts are to be read
    if encodings[0] != "SQL_ASCII" or encodings[1] == "SQL_ASCII":
        connection.execute("SET client_encoding TO 'UTF8'")
    connection.execute("SET DateStyle TO ISO")
    connection.autocommit = False


def _let_go_when_stopped(context: ExceptionContext) -> None:
    """Ctrl-C in a statement: close its cursor and go on to roll back.

    SQLAlchemy would give up the connection, as it must with a server's; SQLite keeps a connection with an
    open cursor alive, and with it the write lock, until whoever handles the exception has forgotten it.
    """
    if not isinstance(context.original_exception, Exception):
        context.is_disconnect = False


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("laudos_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgres(connection: Connection) -> None:
    if connection.get_execution_options().get("laudos_writes", False):
        connection.exec_driver_sql(
            f"SET LOCAL idle_in_transaction_session_timeout = {1000 * IDLE_TRANSACTION_S}"
        )
