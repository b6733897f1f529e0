"""The engine of laudos' own tables, opened once a process and only on tables of this version."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Engine

from db import schema
from db.engine import open_engine
from db.errors import ConfigurationError
from db.roles import Roles
from db.schema import Moved
from tasks.settings import Settings


def open_database(settings: Settings) -> Engine:
    """An engine on the database in force. An embedded database that holds nothing yet gets its tables here.

    Raises ConfigurationError where the tables are missing or of another version, saying what to run.
    """
    return _opened(settings.database)


def upgrade_database(settings: Settings) -> Moved:
    """Create the tables or bring them to this version. Raises as schema.upgrade does."""
    return schema.upgrade(settings.database, role_names(settings))


def downgrade_database(settings: Settings, revision: str, *, confirmed: bool) -> Moved:
    """Take the tables back to an earlier revision. Raises ConfigurationError unless that was confirmed."""
    if not confirmed:
        raise ConfigurationError(
            f"the tables of revision {revision} may have no place for what was written since, which would be "
            "lost; say --yes if that is meant"
        )
    return schema.downgrade(settings.database, revision)


def role_names(settings: Settings) -> Roles:
    """What the configuration calls PostgreSQL's roles."""
    return Roles(**settings.roles.model_dump())


@lru_cache(maxsize=8)
def _opened(url: str) -> Engine:
    engine = open_engine(url)
    if engine.dialect.name == "sqlite" and schema.is_empty(engine):
        schema.upgrade(url)
    schema.require_current(engine)
    return engine
