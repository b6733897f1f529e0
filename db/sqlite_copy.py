"""A whole, consistent copy of an SQLite database, taken while others read and write it.

Copying the file with `cp` would miss what lies in its -wal; SQLite's own back-up reads one state of it.
"""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from db.engine import SQLITE_BUSY_TIMEOUT_S
from db.errors import DatabaseFailure

# copies taken before a migration; older ones than these are removed
KEPT = 5
ENDING = ".backup"


def path_of(engine: Engine) -> Path | None:
    """The file behind an SQLite engine; None for a database in memory."""
    database = engine.url.database
    return None if not database or database == ":memory:" else Path(database).expanduser()


def beside(database: Path, revision: str, now: datetime) -> Path:
    """Copy the database into its own folder, named after the revision it stands at and the time.

    The caller keeps other upgrades out. Returns the copy; of earlier ones the last few are kept.
    Raises DatabaseFailure, with nothing left behind, where there is no room for it.
    """
    for left in partial_beside(database):
        left.unlink()  # of an upgrade that was killed; another one cannot be under way
    target = database.with_name(f"{database.name}.{revision}-{now:%Y%m%dT%H%M%S.%f}Z{ENDING}")
    copy(database, target)
    for old in copies_beside(database)[:-KEPT]:
        old.unlink()
    return target


def copies_beside(database: Path) -> list[Path]:
    """What `beside` has left, oldest first."""
    copies = database.parent.glob(f"{glob.escape(database.name)}.*-*{ENDING}")
    return sorted(copies, key=lambda path: path.name.rpartition("-")[2])


def partial_beside(database: Path) -> list[Path]:
    """What a `beside` that was killed has left."""
    return list(database.parent.glob(f".{glob.escape(database.name)}.*{ENDING}.partial*"))


def copy(database: Path, target: Path) -> None:
    """Copy the database to a new file, which is whole, checked and on the disk when this returns.

    Raises DatabaseFailure, with nothing left behind, where it cannot be written or read.
    """
    partial = target.with_name(f".{target.name}.partial")
    problem = None
    try:
        _refuse_without_room(database, target.parent)
        # the copy holds report text: nobody may read it who may not read the database
        os.close(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, database.stat().st_mode & 0o777))
        _write(database, partial)
        partial.replace(target)
        fsync(target.parent)
    except (sqlite3.Error, OSError) as error:
        problem = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None)
        problem = problem or type(error).__name__
    finally:
        for left in (partial, Path(f"{partial}-journal"), Path(f"{partial}-wal"), Path(f"{partial}-shm")):
            left.unlink(missing_ok=True)
    if problem is not None:
        raise DatabaseFailure(
            f"no copy of {database} could be written to {target.parent} ({problem}); nothing was changed; "
            "check space and permissions there and run again"
        )


def _write(database: Path, partial: Path) -> None:
    with (
        closing(sqlite3.connect(database, timeout=SQLITE_BUSY_TIMEOUT_S)) as source,
        closing(sqlite3.connect(partial)) as target,
    ):
        source.backup(target)  # all pages in one step: one state, and no writer makes it start again
        target.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        found = target.execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise sqlite3.DatabaseError("the copy is damaged")
    fsync(partial)


def _refuse_without_room(database: Path, folder: Path) -> None:
    needed = sum(path.stat().st_size for path in (database, Path(f"{database}-wal")) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DatabaseFailure(
            f"a copy of {database} needs {needed / 1e6:,.0f} MB and {folder} has {free / 1e6:,.0f} MB left; "
            "nothing was changed; free some space and run again"
        )


def fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
