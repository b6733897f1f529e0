"""Bringing a database to this version's tables, and refusing to work on any other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, inspect

from db import comments, ddl, house, ledger, lock, roles, sqlite_copy, views
from db.engine import open_engine, parse_url, reading, writing
from db.errors import Busy, ConfigurationError, DatabaseFailure
from db.roles import Roles
from db.tables import metadata, score_chunk

_UPGRADE = 'run "laudos db upgrade"'
MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Moved:
    """The revision now in force, and the copy of the SQLite file from before; None where none was due."""

    revision: str
    copy: Path | None


def upgrade(url: str, named: Roles | None = None, now: datetime | None = None) -> Moved:
    """Create the tables or bring them to this version, with its views and comments.

    An SQLite file that holds tables is copied first; roles that were created on PostgreSQL are granted what
    is new. Raises ConfigurationError where a newer laudos has been at work, where tables are another user's,
    another program's or in another schema, and where the database is not in UTF-8; Busy beside another
    upgrade or a run that is under way; DatabaseFailure without room for the copy, and where another session
    keeps a table for a minute.
    """
    with _alone(url) as (engine, found):
        pending = found != head()
        if pending and found is not None:
            _refuse_beside_runs(engine)
        # one transaction: an upgrade that fails half-way leaves the database as it was
        with _migrating(engine) if pending else writing(engine) as connection:
            house.prepare(connection)
            copied = _copy(engine, found, now) if pending else None
            if pending:
                views.drop(connection)  # no table that a view reads can be changed
                migrate(connection, head())
            comments.write(connection)
            views.create(connection)
            roles.refresh(connection, named or Roles())
    return Moved(head(), copied)


def downgrade(url: str, revision: str, now: datetime | None = None) -> Moved:
    """Take the tables back to an earlier revision; what it has no place for is lost.

    An SQLite file is copied first. The views go: the older version writes its own when it upgrades.
    Raises ConfigurationError for a revision that does not lie behind, else as `upgrade`.
    """
    with _alone(url) as (engine, found):
        if found is None or revision not in _behind(found):
            raise ConfigurationError(
                f"there is no way back from revision {found} to {revision!r}; "
                f"earlier ones: {', '.join(_behind(found)) or 'none'}"
            )
        _refuse_beside_runs(engine)
        with _migrating(engine) as connection:
            house.prepare(connection)
            copied = _copy(engine, found, now)
            views.drop(connection)
            migrate(connection, revision)
    return Moved(revision, copied)


def migrate(connection: Connection, revision: str) -> None:
    """Run the migrations between the revision in force and this one, in the caller's transaction."""
    found = MigrationContext.configure(connection).get_current_revision()
    way = command.downgrade if revision in _behind(found) else command.upgrade
    way(_config(connection=connection), revision)


def require_current(engine: Engine) -> None:
    """Raises ConfigurationError where the tables are not this version's, or the database not in UTF-8, saying
    what to do."""
    _refuse_encoding(engine)
    found = revision_of(engine)
    if found == head():
        return
    _refuse_anothers(engine, found)
    refuse_newer(found)
    if found is None:
        raise ConfigurationError(f"the database has no laudos tables yet; {_UPGRADE}")
    raise ConfigurationError(
        f"the database stands at revision {found}, this version needs {head()}; {_UPGRADE}"
    )


def revision_of(engine: Engine) -> str | None:
    """The revision a database stands at; None without laudos' tables."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_empty(engine: Engine) -> bool:
    """Whether the database has no table at all."""
    with reading(engine) as connection:
        return not inspect(connection).get_table_names()


def is_missing(url: str) -> bool:
    """Whether the database is an SQLite file that is not there; an engine on it would make it."""
    parsed = parse_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return is_file and not Path(str(parsed.database)).expanduser().exists()


def head() -> str:
    """The revision this version needs."""
    revision = _scripts().get_current_head()
    assert revision is not None, "db/migrations holds no revision"
    return revision


@contextmanager
def _alone(url: str) -> Iterator[tuple[Engine, str | None]]:
    """An engine that nobody else changes the schema beside, and the revision found."""
    engine = open_engine(url)
    try:
        with lock.exclusive(engine, "schema"):
            _refuse_encoding(engine)
            found = revision_of(engine)
            _refuse_anothers(engine, found)
            refuse_newer(found)
            with reading(engine) as connection:
                roles.require_owner(connection)
            yield engine, found
    except DatabaseFailure as failure:
        if "55P03" not in str(failure):
            raise
        with reading(engine) as connection:
            holders = house.holders(connection)
        if not holders:
            raise
        raise DatabaseFailure(
            "another session has kept a table or view that is to be changed for a minute, and nothing was "
            f"changed; end it, or wait until it has ended, and run again: {'; '.join(holders)}",
            retryable=True,
        ) from None
    finally:
        engine.dispose()


def _copy(engine: Engine, found: str | None, now: datetime | None) -> Path | None:
    """Copy an SQLite file that holds tables. The write lock is ours by now: nothing is written in between."""
    path = sqlite_copy.path_of(engine) if engine.dialect.name == "sqlite" else None
    if path is None or found is None:
        return None
    return sqlite_copy.beside(path, found, now or datetime.now(UTC))


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """A writing transaction in which SQLite may copy tables that others refer to.

    SQLite changes a column by copying its table, and heeds foreign keys by the row meanwhile; so they
    are switched off first, which no transaction can do, and all checked at the end. Views that somebody
    else has written are set aside meanwhile. The engine is good for nothing else afterwards.
    """
    if engine.dialect.name != "sqlite":
        with writing(engine) as connection:
            yield connection
        return
    event.listen(engine, "connect", _heed_no_references)
    engine.dispose()  # connections from before still heed them
    with writing(engine) as connection:
        theirs = views.set_aside(connection)
        yield connection
        for creation in theirs:
            ddl.run(connection, creation)
        dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if dangling:
            raise DatabaseFailure(
                f"{len(dangling)} rows would refer to what is not there; nothing was changed: the database "
                "was damaged before, or the migration is wrong; restore the last back-up, or ask for help"
            )


def _heed_no_references(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = OFF")


def _behind(found: str | None) -> list[str]:
    """The revisions below one, nearest first."""
    if found is None:
        return []
    walked = _scripts().iterate_revisions(found, "base")
    return [script.revision for script in walked if script.revision != found]


def refuse_newer(found: str | None) -> None:
    """Raises ConfigurationError for tables that a newer laudos has made."""
    if found is not None and found not in {script.revision for script in _scripts().walk_revisions()}:
        raise ConfigurationError(
            f"the database stands at revision {found}, which this version of laudos does not know: "
            "a newer one has been at work; install that version, or restore the back-up from before it"
        )


def _refuse_encoding(engine: Engine) -> None:
    """Raises ConfigurationError for a database that has no place for every character of a report."""
    if engine.dialect.name != "postgresql":
        return
    with reading(engine) as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database is in {encoding}, which has no place for every character; name one that was made "
            "by CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0; what this one holds comes over by "
            '"laudos db backup" of this one and "laudos db restore" into that'
        )


def _refuse_anothers(engine: Engine, found: str | None) -> None:
    """Raises ConfigurationError where ours are in another schema, and another program's in their place."""
    with reading(engine) as connection:
        there = inspect(connection)
        if found is not None and there.has_table(score_chunk.name):
            return  # ours: it is there since the first revision
        aside = _schema_aside(connection)
        ours = {*metadata.tables, *(view.name for view in views.VIEWS), roles.REVISION}
        in_the_way = ours & {*there.get_table_names(), *there.get_view_names()}
        if there.has_table(roles.REVISION):
            in_the_way.add(roles.REVISION)  # Alembic heeds one in any schema of the search_path
    if aside:
        raise ConfigurationError(
            f"laudos' tables are in the schema {aside[0]}, and this user's search_path does not lead there: "
            f"run ALTER ROLE {aside[1]} SET search_path = {aside[0]}; another laudos beside that one needs a "
            "database of its own"
        )
    if in_the_way:
        raise ConfigurationError(
            f"another program's tables or views bear names of laudos': {', '.join(sorted(in_the_way))}; "
            "nothing was changed: give laudos a database of its own"
        )


def _refuse_beside_runs(engine: Engine) -> None:
    """Raises Busy while a run's process lives, which would go on writing to the tables as they were."""
    with reading(engine) as connection:
        alive = [one for one in ledger.running(connection) if not lock.is_free(engine, ledger.life_of(one))]
    if alive:
        raise Busy(
            f"run {', '.join(map(str, alive))} is under way, for which the tables may not change; run this "
            "again when it has ended, before another begins"
        )


def _schema_aside(connection: Connection) -> tuple[str, str] | None:
    """The schema of laudos' tables where it is one that the search_path does not lead to, and the user."""
    if connection.dialect.name != "postgresql":
        return None
    found = connection.exec_driver_sql(
        "SELECT quote_ident(nspname), quote_ident(session_user) FROM pg_class chunks "
        "JOIN pg_class revision ON revision.relnamespace = chunks.relnamespace "
        "JOIN pg_namespace ON pg_namespace.oid = chunks.relnamespace "
        "WHERE chunks.relname = %s AND revision.relname = %s AND NOT pg_table_is_visible(chunks.oid) "
        "ORDER BY 1 LIMIT 1",
        (score_chunk.name, roles.REVISION),
    ).one_or_none()
    return None if found is None else (found[0], found[1])


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config(**attributes: object) -> Config:
    config = Config(attributes=dict(attributes))
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
