"""The bytes of what was deleted: a database gives up a row long before what was written in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from db.engine import SQLITE_BUSY_TIMEOUT_S, failure_of, raise_alone
from db.erasure import TOUCHED
from db.errors import Busy, DatabaseFailure
from db.sqlite_copy import path_of


def wipe(engine: Engine) -> bool:
    """Give up the pages that still hold what was removed; False where this PostgreSQL user may not.

    Raises Busy where another program's reading keeps them, DatabaseFailure without room to do it.
    """
    return _wipe_sqlite(engine) if engine.dialect.name == "sqlite" else _wipe_postgresql(engine)


def _wipe_sqlite(engine: Engine) -> bool:
    """A new file in the place of the old, page by page, and an empty -wal beside it."""
    database = path_of(engine)
    if database is None:
        return True
    code, busy = None, 0
    try:
        with closing(sqlite3.connect(database, SQLITE_BUSY_TIMEOUT_S, isolation_level=None)) as c:
            c.execute("VACUUM")
            busy = c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", type(error).__name__)
    if busy or code in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        raise Busy(
            f"another program is at work on {database}, which keeps old pages in its -wal: the reports are "
            'erased, their bytes are not; close it, then run "laudos doctor --repair"'
        )
    if code is not None:
        raise DatabaseFailure(
            f"{database} could not be written anew ({code}), which takes as much room again as it has, there "
            "and where temporary files lie: the reports are erased, their bytes are not; make room, then run "
            '"laudos doctor --repair"'
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
                c.execute(text(f"VACUUM {', '.join(table.name for table in TOUCHED)}"))
    except SQLAlchemyError as error:
        failure = failure_of(error)
    if failure is not None:
        raise_alone(failure)
    return may
