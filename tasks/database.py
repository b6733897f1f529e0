"""The engine of laudos' own tables, opened once a process and only on tables of this version."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from sqlalchemy import Engine

from db import schema
from db.engine import open_engine, reading
from db.errors import ConfigurationError
from db.roles import Roles
from db.schema import Moved
from tasks.made_here import made_here, published_in
from tasks.ml.sealed import MANIFEST
from tasks.model_folders import models_folder
from tasks.settings.settings import Settings


def open_database(settings: Settings) -> Engine:
    """An engine on the database in force. An embedded database that holds nothing yet gets its tables here.

    Raises ConfigurationError where the tables are missing or of another version, and where the folder of
    models holds another database's alone, saying what to do.
    """
    return _opened(settings.database, models_folder(settings))


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
def _opened(url: str, root: Path) -> Engine:
    if schema.is_missing(url):
        # before there is a file: its own may be on a disk that is about to be mounted
        _refuse_anothers(root, lambda _: False)
    engine = open_engine(url)
    if engine.dialect.name == "sqlite" and schema.is_empty(engine):
        schema.upgrade(url)
    schema.require_current(engine)
    with reading(engine) as c:
        _refuse_anothers(root, partial(made_here, c))
    return engine


def _refuse_anothers(root: Path, is_ours: Callable[[Path], bool]) -> None:
    """Raises ConfigurationError where models lie there and none is of this database.

    It would name its own champion in place of theirs and write over their pages. Of what this user may not
    read, whoever reads it tells.
    """
    there = [one for one in published_in(root) if os.access(one / MANIFEST, os.R_OK)]
    if there and not any(map(is_ours, there)):
        raise ConfigurationError(
            f"{root} holds models ({there[0].relative_to(root)} is one), and the database in force made none "
            "of them: it is missing, or another one. Bring their database back (is its disk mounted? do "
            '`database` in laudos.toml and LAUDOS_DATABASE name it?), or run "laudos db restore"; to begin '
            "anew, let `folder` in laudos.toml, or LAUDOS_FOLDER, lead to a new folder"
        )
