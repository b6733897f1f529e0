"""The bytes of what was deleted: a database gives up a row long before what was written in it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    delete,
    exists,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.exc import SQLAlchemyError

from db.engine import SQLITE_BUSY_TIMEOUT_S, failure_of, raise_alone, writing
from db.erasure import TOUCHED
from db.errors import Busy, DatabaseFailure
from db.sqlite_copy import path_of
from db.tables import Instant

OLDER_S = 60.0  # so long PostgreSQL's older transactions are waited for, as SQLite's readers are
_LEFT = "the reports are erased, their bytes are not"
_THEN = 'then run "laudos doctor --repair"'

# what a column takes that must not be null: by its name where the table checks it, else by its type
_NEEDED: Final = {"origin": "feedback", "decision": "review", "ends": 1}
_NOTHING: Final[dict[type, Any]] = {
    **dict.fromkeys((String, Text), ""),
    LargeBinary: b"",
    Integer: 0,
    Float: 0.0,
    JSON: {},
    Instant: datetime(2000, 1, 1, tzinfo=UTC),
}

# transactions that see rows as they were before this one, our own left out: VACUUM leaves them those rows
_LOOKING_BACK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND greatest(age(backend_xmin), age(backend_xid)) > age(CAST(:ours AS xid))
"""


def wipe(engine: Engine) -> bool:
    """Give up the pages that still hold what was removed; False where this PostgreSQL user may not.

    Raises Busy where another program keeps them for longer than a minute, DatabaseFailure without room.
    """
    return _wipe_sqlite(engine) if engine.dialect.name == "sqlite" else _wipe_postgresql(engine)


def _wipe_sqlite(engine: Engine) -> bool:
    """A new file in the place of the old, page by page, and an empty -wal beside it.

    `secure_delete` alone is not enough: a row that was moved when its page was split leaves a copy.
    """
    database = path_of(engine)
    if database is None:
        return True
    code, busy = None, 0
    # VACUUM writes all reports to a file without a name first: beside the database, not in /var/tmp
    here = str(database.resolve().parent).replace("'", "''")
    try:
        with closing(sqlite3.connect(database, SQLITE_BUSY_TIMEOUT_S, isolation_level=None)) as c:
            c.execute(f"PRAGMA temp_store_directory = '{here}'")
            try:
                c.execute("VACUUM")
            finally:
                c.execute("PRAGMA temp_store_directory = ''")  # it counts for the whole process
            busy = c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", type(error).__name__)
    if busy or code in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        raise Busy(
            f"another program is at work on {database}, which keeps old pages in its -wal: {_LEFT}; "
            f"close it, {_THEN}"
        )
    if code is not None:
        raise DatabaseFailure(
            f"{database} could not be written anew ({code}), which takes twice as much room again as it has, "
            f"in its folder: {_LEFT}; make room, {_THEN}"
        )
    return True


def _wipe_postgresql(engine: Engine) -> bool:
    names = ", ".join(f"CAST('{table.name}' AS regclass)" for table in TOUCHED)
    asked = f"SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class WHERE oid IN ({names})"
    failure = None
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            may = bool(c.scalar(text(asked)))
            if may:
                _wait_for_older(c)
                # ANALYZE: the planner's statistics quote values, whole texts of up to a kilobyte among them
                c.execute(text(f"VACUUM (ANALYZE) {', '.join(table.name for table in TOUCHED)}"))
    except SQLAlchemyError as error:
        failure = failure_of(error)
    if failure is not None:
        raise_alone(failure)
    if may:
        for table in TOUCHED:
            with writing(engine) as c:
                _forget_statistics_of_nothing(c, table)
    return may


def _forget_statistics_of_nothing(c: Connection, table: Table) -> None:
    """Statistics of a table that is empty now are those of a row that says nothing.

    ANALYZE leaves them as they are where it finds no row, and nobody but a superuser may delete them.
    """
    if c.scalar(select(exists(select(literal(1)).select_from(table)))):
        return
    row = _saying_nothing(c, table)
    if row is not None:
        # nobody else ever sees it; what others write meanwhile stays
        number = c.execute(insert(table).values(row).returning(*table.primary_key)).one()
        c.execute(text(f"ANALYZE {table.name}"))
        its_own = (column == value for column, value in zip(table.primary_key, number, strict=True))
        c.execute(delete(table).where(*its_own))


def _saying_nothing(c: Connection, table: Table) -> dict[str, Any] | None:
    """A row that the table takes; None where it never held one, what it refers to being nowhere."""
    row = {
        column.name: _NEEDED.get(column.name, _NOTHING.get(type(column.type)))
        for column in table.columns
        if not column.nullable and column.server_default is None and column is not table.autoincrement_column
    }
    for reference in table.foreign_key_constraints:
        if not row.keys() & reference.column_keys:
            continue
        parent = c.execute(select(*(key.column for key in reference.elements)).limit(1)).first()
        if parent is None:
            return None
        row |= zip(reference.column_keys, parent, strict=True)
    return row


def _wait_for_older(c: Connection) -> None:
    """Until no transaction of before is open, a back-up's for one. Those of roles that this one may not look
    at are not seen."""
    ours = c.scalar(text("SELECT CAST(txid_current() % 4294967296 AS text)"))
    until = time.monotonic() + OLDER_S
    while c.scalar(text(_LOOKING_BACK), {"ours": ours}):
        if time.monotonic() > until:
            raise Busy(
                f"another session has had a transaction open since before, which keeps old rows: {_LEFT}; "
                f"end it (pg_stat_activity tells which it is), {_THEN}"
            )
        time.sleep(0.1)
