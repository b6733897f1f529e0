"""Bringing a database to this version's tables, and refusing to work on any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, inspect

from db import comments, lock, views
from db.engine import open_engine, reading, writing
from db.errors import ConfigurationError, DatabaseFailure

_UPGRADE = 'run "laudos db upgrade"'


def upgrade(url: str) -> str:
    """Create the tables or bring them to this version; returns the revision now in force.

    Raises ConfigurationError where a newer laudos has been at work, Busy where another upgrade runs.
    """
    engine = open_engine(url)
    try:
        with lock.exclusive(engine, "schema"):
            found = revision_of(engine)
            _refuse_newer(found)
            # one transaction: an upgrade that fails half-way leaves the database as it was
            with _migrating(engine) as connection:
                if found != head():
                    views.drop(connection)  # no table that a view reads can be changed
                    command.upgrade(_config(connection=connection), "head")
                comments.write(connection)
                views.create(connection)
    finally:
        engine.dispose()
    return head()


def downgrade(url: str, revision: str) -> None:
    """Take the tables back to an earlier revision; what it has no place for is lost.

    Raises ConfigurationError for a revision that does not lie behind, Busy where another upgrade runs.
    """
    engine = open_engine(url)
    try:
        with lock.exclusive(engine, "schema"):
            found = revision_of(engine)
            _refuse_newer(found)
            if found is None or revision not in _behind(found):
                raise ConfigurationError(
                    f"there is no way back from revision {found} to {revision!r}; "
                    f"earlier ones: {', '.join(_behind(found)) or 'none'}"
                )
            with _migrating(engine) as connection:
                views.drop(connection)
                command.downgrade(_config(connection=connection), revision)
    finally:
        engine.dispose()


def require_current(engine: Engine) -> None:
    """Raises ConfigurationError where the tables are not this version's, saying what to do."""
    found = revision_of(engine)
    if found == head():
        return
    _refuse_newer(found)
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


def head() -> str:
    """The revision this version needs."""
    revision = _scripts().get_current_head()
    assert revision is not None, "db/migrations holds no revision"
    return revision


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    """A writing transaction in which SQLite may copy tables that others refer to.

    SQLite changes a column by copying its table, and heeds foreign keys by the row meanwhile; so they
    are switched off first, which no transaction can do, and all checked at the end.
    """
    if engine.dialect.name != "sqlite":
        with writing(engine) as connection:
            yield connection
        return
    event.listen(engine, "connect", lambda raw, _record: raw.execute("PRAGMA foreign_keys = OFF"))
    engine.dispose()
    with writing(engine) as connection:
        yield connection
        dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if dangling:
            raise DatabaseFailure(
                f"the migration would leave {len(dangling)} rows without what they refer to; "
                "nothing was changed; restore the last back-up, or ask for help"
            )


def _behind(found: str | None) -> list[str]:
    """The revisions below one, nearest first."""
    if found is None:
        return []
    walked = _scripts().iterate_revisions(found, "base")
    return [script.revision for script in walked if script.revision != found]


def _refuse_newer(found: str | None) -> None:
    if found is not None and found not in {script.revision for script in _scripts().walk_revisions()}:
        raise ConfigurationError(
            f"the database stands at revision {found}, which this version of laudos does not know: "
            "a newer one has been at work; install that version, or restore the back-up from before it"
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config(**attributes: object) -> Config:
    config = Config(attributes=dict(attributes))
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
