"""The database into a file, and back: SQLite's whole, by its own back-up; of PostgreSQL's what is laudos'
and the views on it, by pg_dump, pg_restore and psql.

Neither is disturbed by who reads and writes meanwhile: the file holds one state of it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, Engine, func, inspect, select

from db import sqlite_copy, views
from db.ddl import literal, name_in
from db.engine import SQLITE_BUSY_TIMEOUT_S, reading
from db.errors import ConfigurationError, DatabaseFailure
from db.tables import champion, label, metadata, model, prediction, report, report_version, score_chunk

FILES = {"sqlite": "database.sqlite", "postgresql": "database.dump"}
# where Debian keeps every version that is installed
CLIENTS = Path("/usr/lib/postgresql")
COUNTED = (report, report_version, label, prediction, model, champion)
# what is ours on PostgreSQL; somebody else's tables may lie beside them
_TABLES = (*metadata.tables, "alembic_version")
_VIEWS = tuple(view.name for view in views.VIEWS)
_INDEXES = [str(index.name) for table in metadata.tables.values() for index in table.indexes]
# what psycopg takes and libpq, and so its programs, do not know
_PSYCOPG_ALONE = ("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory")
# one line of `pg_restore --list --verbose` and what it stands on: all of it, number, rest, numbers
_ENTRY = re.compile(r"^((\d+); \d+ \d+ (.*))(?:\n;\t[^:\n]*:([ \d]+))?$", re.MULTILINE)
# the kinds of entries that make or change a table or its rows
_OF_TABLES = ("TABLE", "SEQUENCE", "DEFAULT", "CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT")


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
        with reading(engine) as c:
            theirs = views.dependents(c, (*_TABLES, *_VIEWS), ours=_VIEWS)
        # a name alone is what this connection sees under it; one that is not there does no harm
        named = (f"--table={name}" for name in (*_TABLES, *_VIEWS, *theirs))
        kept_out = ("--format=custom", "--no-owner", "--no-privileges")
        _run_client(engine, "pg_dump", *kept_out, *named, "--file", str(target))
        sqlite_copy.fsync(target)
    else:
        raise ConfigurationError("a database in memory is gone with its process: there is nothing to keep")
    return target


def read_into(engine: Engine, file: Path) -> list[str]:
    """Make laudos' tables what the file holds; what they held before is gone. All of it, or nothing.

    On PostgreSQL tables of somebody else's are not touched. Returns what of somebody else's stood on ours in
    the file, such as a view, and cannot be made here.

    Raises DatabaseFailure where it cannot be written, ConfigurationError as `write` does, and where views of
    somebody else's that the file does not hold stand on ours, or tables of somebody else's have our names.
    """
    if engine.dialect.name == "postgresql":
        return _read_into_postgresql(engine, file)
    _read_into_sqlite(engine, file)
    return []


def is_blank(engine: Engine) -> bool:
    """Whether nothing would be lost: no table, or none of ours with a row.

    Raises ConfigurationError where tables or views have names of ours in a database that is not laudos'.
    """
    with reading(engine) as c:
        tables, our_views = _standing(c)
        if (found := [*tables, *our_views]) and not {"alembic_version", "score_chunk"} <= set(tables):
            raise ConfigurationError(
                f"{', '.join(found)} stand in the database and are not laudos'; name a database without "
                "such, best a fresh one"
            )
        return not any(c.execute(select(one).limit(1)).first() for one in COUNTED if one.name in tables)


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


def _read_into_postgresql(engine: Engine, file: Path) -> list[str]:
    """What is ours goes, and comes from the file; then what of somebody else's stood on it there, as far as
    it can be made here, but no view that stands here may be lost. psql is told to commit only once all that
    has ended well."""
    words = ("--no-owner", "--no-privileges", "--file", "-", str(file))
    major = _major(engine)
    restorer, runner = _client("pg_restore", major, words), _client("psql", major, ())
    with reading(engine) as c:
        held = _held(c, restorer, file)
        away, standing = _taken_away(c, held)
    conninfo, environment = connection_of(engine)
    asked = [str(runner), "-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", conninfo]
    # what they say is not passed on: an error of COPY quotes the row
    quiet = subprocess.DEVNULL
    told = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            asked, env=os.environ | environment, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet
        ) as psql,
    ):
        assert psql.stdin is not None
        chosen = Path(folder) / "chosen"
        with suppress(BrokenPipeError), psql.stdin:  # psql ends at the first error
            for said, entries in ((f"BEGIN;\n{away}", held.ours), (_may_fail(held), held.theirs)):
                psql.stdin.write(said.encode())
                chosen.write_text("\n".join(entries), encoding="utf-8")
                told = told or _copied([str(restorer), "--use-list", str(chosen), *words], psql.stdin)
            if told == 0:
                psql.stdin.write(f"{_must_stand(standing)}COMMIT;\n".encode())
    if told != 0 or psql.returncode != 0:
        raise DatabaseFailure(
            f"pg_restore ended with {told}, psql with {psql.returncode}, and the database is what it was; "
            "check space and permissions, what else in it stands on laudos' tables, and that search_path "
            f"leads to the schema {held.schema}; or name an empty database. By hand, into an empty one: "
            f"{shlex.join([str(restorer), *words])} | psql ..."
        )
    with reading(engine) as c:
        return _missing(c, held.theirs)


def _copied(command: Sequence[str], to: IO[bytes]) -> int:
    """How a program ended, what it told having been copied."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as told:
        assert told.stdout is not None
        shutil.copyfileobj(told.stdout, to)
    return told.returncode


@dataclass(frozen=True)
class _Held:
    """What a back-up holds, as `pg_restore --list` spells it and in its order; no more is brought back.

    An earlier laudos wrote the whole database, others' tables included.
    """

    schema: str
    ours: list[str]
    theirs: list[str]  # others' views, indexes, triggers... on ours: never a table or a row


def _held(c: Connection, restorer: Path, file: Path) -> _Held:
    """Raises DatabaseFailure for a file in which no table of ours is found."""
    asked = [str(restorer), "--list", "--verbose", str(file)]
    listed = subprocess.run(asked, capture_output=True, stdin=subprocess.DEVNULL, text=True).stdout
    schemas = re.findall(r"^\d+; \d+ \d+ TABLE (.+) score_chunk ", listed, re.MULTILINE)
    if not schemas:
        raise DatabaseFailure(
            f"pg_restore finds no table of laudos' in {file}, and the database is what it was; "
            f"restore another back-up. By hand: {shlex.join(asked)}"
        )
    here = c.exec_driver_sql("SELECT current_schema()").scalar()
    schema = str(here if here in schemas else schemas[0])
    ours_begin = _beginnings(schema)
    ours: list[str] = []
    theirs: list[str] = []
    numbers: set[str] = set()
    for entry, number, what, stands_on in _ENTRY.findall(listed):
        if ours_begin.match(what):
            ours.append(entry)
        elif not numbers.isdisjoint(stands_on.split()) and not what.startswith(_OF_TABLES):
            theirs.append(entry)
        else:
            continue
        numbers.add(number)
    return _Held(schema, ours, theirs)


def _beginnings(schema: str) -> re.Pattern[str]:
    """How the entries of a list begin that are ours."""
    named = "|".join((*_TABLES, *_VIEWS))
    at, kinds = re.escape(schema), "TABLE|TABLE DATA|VIEW|DEFAULT|CONSTRAINT|FK CONSTRAINT"
    return re.compile(
        rf"(?:{kinds}) {at} (?:{named}) |COMMENT {at} (?:TABLE|VIEW|COLUMN) (?:{named})[ .]"
        rf"|SEQUENCE(?: OWNED BY| SET)? {at} (?:{named})_id_seq |INDEX {at} (?:{'|'.join(_INDEXES)}) "
    )


def _taken_away(c: Connection, held: _Held) -> tuple[str, list[str]]:
    """SQL that takes away what is ours, and the views of somebody else's on it, which the back-up holds, too;
    and the names of those views.

    Raises ConfigurationError naming those that it does not hold: they would be gone.
    """
    our_tables, our_views = _standing(c)
    theirs = views.dependents(c, [*our_tables, *our_views], ours=our_views)
    listed = "\n".join(held.theirs)
    if lost := [name for name in theirs if f"VIEW {_as_listed(name)} " not in listed]:
        raise ConfigurationError(
            f"{', '.join(lost)} stand on laudos' tables or views, and the back-up does not hold them; keep "
            "their definitions, drop them, restore, and create them again; or name an empty database"
        )
    gone = [f"DROP {kind} IF EXISTS {name} CASCADE" for name, kind in theirs.items()]
    gone += [f"DROP VIEW {', '.join(our_views)}"] if our_views else []
    gone += [f"DROP TABLE {', '.join(our_tables)}"] if our_tables else []
    if held.schema not in inspect(c).get_schema_names():
        gone += [f"CREATE SCHEMA {name_in(c.dialect, held.schema)}"]
    return "".join(f"{one};\n" for one in gone), list(theirs)


def _standing(c: Connection) -> tuple[list[str], list[str]]:
    """The tables and the views of ours that this connection sees."""
    there = inspect(c)
    tables, seen = ([name for name in names if there.has_table(name)] for names in (_TABLES, _VIEWS))
    return tables, seen


def _may_fail(held: _Held) -> str:
    """SQL from which on what fails is left out, and the schemas in which others' views are to come."""
    schemas = {found[1] for one in held.theirs if (found := re.search(r"; \d+ \d+ [A-Z ]*VIEW (\S+) ", one))}
    lines = ["\\set ON_ERROR_ROLLBACK on", "\\set ON_ERROR_STOP off"]
    lines += [f'CREATE SCHEMA "{schema}";' for schema in sorted(schemas)]
    return "".join(f"{line}\n" for line in lines)


def _must_stand(names: Sequence[str]) -> str:
    """SQL that fails unless these stand again, and laudos' tables where this connection looks for them."""
    # pg_restore leaves a search_path behind on which nothing is
    lines = ["\\set ON_ERROR_STOP on", "RESET search_path;"]
    lines += [f"SELECT {literal(name)}::regclass;" for name in ("score_chunk", *names)]
    return "".join(f"{line}\n" for line in lines)


def _missing(c: Connection, theirs: Sequence[str]) -> list[str]:
    """Those of others' views and indexes in a back-up that are not there, as it lists them."""
    found = c.exec_driver_sql(
        "SELECT nspname || ' ' || relname || ' ' FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
    )
    there = tuple(found.scalars())
    listed = (
        re.search(r"; \d+ \d+ ((?:MATERIALIZED VIEW|VIEW|INDEX) (?!DATA )(.+ )).+", one) for one in theirs
    )
    return [one[1].strip() for one in listed if one and not one[2].startswith(there)]


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
            f"by hand: {shlex.join(command)} --dbname ..."
        )


def _as_listed(name: str) -> str:
    """schema.name, in quotes where it needs them, as `pg_restore --list` spells it."""
    return name.replace(".", " ", 1).replace('"', "")


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
    by_hand = shlex.join((program, *words))
    raise ConfigurationError(
        f"{here} and the server of version {major}: install PostgreSQL's client programs of version {major} "
        f"(postgresql-client-{major}), or run where the server is: {by_hand} --dbname ..."
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
