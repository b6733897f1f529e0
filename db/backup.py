"""The whole database into a file, and back: SQLite by its own back-up, PostgreSQL by pg_dump, pg_restore
and psql.

Neither is disturbed by who reads and writes meanwhile: the file holds one state of it.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, Engine, func, inspect, select

from db import sqlite_copy, views
from db.engine import SQLITE_BUSY_TIMEOUT_S, reading
from db.errors import ConfigurationError, DatabaseFailure
from db.tables import champion, label, metadata, model, prediction, report, report_version, score_chunk

FILES = {"sqlite": "database.sqlite", "postgresql": "database.dump"}
# where Debian keeps every version that is installed
CLIENTS = Path("/usr/lib/postgresql")
COUNTED = (report, report_version, label, prediction, model, champion)
# what psycopg takes and libpq, and so its programs, do not know
_PSYCOPG_ALONE = ("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory")


def write(engine: Engine, folder: Path) -> Path:
    """Write one state of the database into the folder; returns the file, which is on the disk by then.

    Raises DatabaseFailure, with no file left behind, where it cannot be written, and ConfigurationError
    where PostgreSQL's pg_dump is not here or older than the server.
    """
    target = folder / FILES[engine.dialect.name]
    path = sqlite_copy.path_of(engine) if engine.dialect.name == "sqlite" else None
    if path is not None:
        sqlite_copy.copy(path, target)
    elif engine.dialect.name == "postgresql":
        kept_out = ("--format=custom", "--no-owner", "--no-privileges", "--file", str(target))
        _run_client(engine, "pg_dump", *kept_out)
        sqlite_copy.fsync(target)
    else:
        raise ConfigurationError("a database in memory is gone with its process: there is nothing to keep")
    return target


def read_into(engine: Engine, file: Path) -> None:
    """Make the database what the file holds; what it held before is gone. All of it, or nothing.

    Raises DatabaseFailure where it cannot be written, ConfigurationError as `write` does, and where views of
    somebody else's that the file does not hold stand on ours.
    """
    if engine.dialect.name == "sqlite":
        _read_into_sqlite(engine, file)
    else:
        _read_into_postgresql(engine, file)


def is_blank(engine: Engine) -> bool:
    """Whether nothing would be lost: no table, or none of ours with a row."""
    with reading(engine) as c:
        there = set(inspect(c).get_table_names())
        return not any(c.execute(select(one).limit(1)).first() for one in COUNTED if one.name in there)


def leases(c: Connection, now: datetime) -> set[tuple[int, str]]:
    """(job, worker) of each chunk whose lease has not run out; whatever the revision of the tables."""
    held = select(score_chunk.c.job_id, score_chunk.c.leased_by).where(
        score_chunk.c.state == "leased", score_chunk.c.leased_until >= now
    )
    return {(row.job_id, row.leased_by) for row in c.execute(held)}


def contents(c: Connection) -> Mapping[str, int]:
    """Table -> rows, of those that say what came back."""
    return {one.name: int(c.scalar(select(func.count()).select_from(one)) or 0) for one in COUNTED}


def folders(c: Connection) -> list[tuple[int, str, str]]:
    """(number, path, manifest sha) of every model that may answer, whatever the revision of the tables."""
    kept = select(model.c.id, model.c.path, model.c.manifest_sha)
    found = c.execute(kept.where(model.c.state.in_(["ready", "retired"])).order_by(model.c.id))
    return [(row.id, row.path, row.manifest_sha) for row in found]


def _read_into_sqlite(engine: Engine, file: Path) -> None:
    path, problem = sqlite_copy.path_of(engine), None
    assert path is not None, "a database in memory was refused when it was written"
    engine.dispose()
    try:
        with (
            closing(sqlite3.connect(file)) as source,
            closing(sqlite3.connect(path, timeout=SQLITE_BUSY_TIMEOUT_S)) as target,
        ):
            source.backup(target)  # a transaction of the target's: a kill half-way changes nothing
    except sqlite3.Error as error:
        problem = getattr(error, "sqlite_errorname", type(error).__name__)
    if problem is not None:
        raise DatabaseFailure(
            f"{path} could not be written ({problem}) and is what it was; end what uses it, check space and "
            "permissions, and run again"
        )


def _read_into_postgresql(engine: Engine, file: Path) -> None:
    """Everything of ours goes first: --clean takes away only what the file brings back, and tables that came
    since refer to that. psql is told to commit only once pg_restore has ended well."""
    words = ("--no-owner", "--no-privileges", "--clean", "--if-exists", "--file", "-", str(file))
    major = _major(engine)
    restorer, runner = _client("pg_restore", major, words), _client("psql", major, ())
    with reading(engine) as c:
        away = _taken_away(c, _listed(restorer, file))
    conninfo, environment = connection_of(engine)
    asked = [str(runner), "-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", conninfo]
    # what they say is not passed on: an error of COPY quotes the row
    quiet = subprocess.DEVNULL
    with (
        subprocess.Popen(
            asked, env=os.environ | environment, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet
        ) as psql,
        subprocess.Popen([str(restorer), *words], stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as told,
    ):
        assert psql.stdin is not None
        assert told.stdout is not None
        with suppress(BrokenPipeError), psql.stdin, told.stdout:  # psql ends at the first error
            psql.stdin.write(f"BEGIN;\n{away}".encode())
            shutil.copyfileobj(told.stdout, psql.stdin)
            if told.wait() == 0:
                psql.stdin.write(b"COMMIT;\n")
    if told.returncode != 0 or psql.returncode != 0:
        raise DatabaseFailure(
            f"pg_restore ended with {told.returncode}, psql with {psql.returncode}, and the database is what "
            "it was; check space and permissions, and what else in it stands on laudos' tables; or name an "
            f"empty database. By hand: {restorer} {' '.join(words)} | psql ..."
        )


def _taken_away(c: Connection, listed: str) -> str:
    """SQL that takes away what is ours, and the views of somebody else's on it that the back-up holds, too.

    Raises ConfigurationError naming those that it does not hold: they would be gone.
    """
    there = inspect(c)
    our_views = sorted({one.name for one in views.VIEWS} & set(there.get_view_names()))
    our_tables = sorted({*metadata.tables, "alembic_version"} & set(there.get_table_names()))
    theirs = views.dependents(c, [*our_views, *our_tables], ours=our_views)
    if lost := [name for name in theirs if f" VIEW {_as_listed(name)} " not in listed]:
        raise ConfigurationError(
            f"{', '.join(lost)} stand on laudos' tables or views, and the back-up does not hold them; keep "
            "their definitions, drop them, restore, and create them again; or name an empty database"
        )
    gone = [f"DROP {kind} IF EXISTS {name} CASCADE" for name, kind in theirs.items()]
    gone += [f"DROP VIEW {', '.join(our_views)}"] if our_views else []
    gone += [f"DROP TABLE {', '.join(our_tables)}"] if our_tables else []
    return "".join(f"{one};\n" for one in gone)


def _run_client(engine: Engine, program: str, *words: str) -> None:
    """Run one of PostgreSQL's programs on the database."""
    command = [str(_client(program, _major(engine), words)), *words]
    conninfo, environment = connection_of(engine)
    # what it says is not passed on: an error of COPY quotes the row
    done = subprocess.run(
        [*command, "--dbname", conninfo],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise DatabaseFailure(
            f"{program} ended with {done.returncode} and the database is what it was; to see why, run "
            f"by hand: {' '.join(command)} --dbname ..."
        )


def _as_listed(name: str) -> str:
    """schema.name, in quotes where it needs them, as `pg_restore --list` spells it."""
    return name.replace(".", " ", 1).replace('"', "")


def _listed(restorer: Path, file: Path) -> str:
    """What a back-up holds, a line each; nothing where it cannot be read, which the restore will tell."""
    asked = [str(restorer), "--list", str(file)]
    done = subprocess.run(asked, capture_output=True, stdin=subprocess.DEVNULL, text=True)
    return done.stdout


def _major(engine: Engine) -> int:
    with reading(engine) as c:
        return int(c.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000


def _client(program: str, major: int, words: Sequence[str]) -> Path:
    """The oldest of the programs here that is not older than the server."""
    on_path = shutil.which(program)
    found = [Path(on_path)] if on_path else []
    found += CLIENTS.glob(f"*/bin/{program}")
    versions = {path: _major_of(path) for path in found}
    fitting = [path for path, version in versions.items() if version >= major]
    if fitting:
        return min(fitting, key=lambda path: versions[path])
    here = f"{program} is of version {max(versions.values())}" if versions else f"{program} is not installed"
    raise ConfigurationError(
        f"{here} and the server of version {major}: install PostgreSQL's client programs of version {major} "
        f"(postgresql-client-{major}), or run where the server is: {program} {' '.join(words)} --dbname ..."
    )


def _major_of(path: Path) -> int:
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    version = re.search(r"\) (\d+)", told)
    return int(version[1]) if version else 0


def connection_of(engine: Engine) -> tuple[str, dict[str, str]]:
    """The engine's connection as libpq spells it, and its password as a variable of the environment.

    On the list of processes anybody would read it, and a file would stay behind where it is killed.
    """
    _, known = engine.dialect.create_connect_args(engine.url)
    for word in _PSYCOPG_ALONE:
        known.pop(word, None)
    password = known.pop("password", None)
    return make_conninfo(**known), {} if password is None else {"PGPASSWORD": str(password)}
