"""The bytes of what was deleted: a database gives up a row long before what was written in it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from db.engine import SQLITE_BUSY_TIMEOUT_S, failure_of, raise_alone
from db.erasure import TOUCHED
from db.errors import Busy, DatabaseFailure
from db.sqlite_copy import path_of

OLDER_S = 60.0  # so long PostgreSQL's older transactions are waited for, as SQLite's readers are
_LEFT = "the reports are erased, their bytes are not"
_THEN = 'then run "laudos doctor --repair"'

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
                c.execute(text(f"VACUUM {', '.join(table.name for table in TOUCHED)}"))
    except SQLAlchemyError as error:
        failure = failure_of(error)
    if failure is not None:
        raise_alone(failure)
    return may


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
