"""`laudos db roles`: who may read and write what, as PostgreSQL roles."""

from __future__ import annotations

from dataclasses import dataclass

from db import roles
from db.engine import reading, writing
from tasks.database import open_database, role_names
from tasks.settings.settings import Settings


@dataclass(frozen=True)
class Granted:
    """The three roles, and which of them are new."""

    writer: str
    reader: str
    auditor: str
    created: list[str]


def create_roles(settings: Settings) -> Granted:
    """Create what is missing and grant each its share. Raises as db.roles.create does."""
    names = role_names(settings)
    with writing(open_database(settings)) as c:
        created = roles.create(c, names)
    return Granted(names.writer, names.reader, names.auditor, created)


def roles_as_sql(settings: Settings) -> list[str]:
    """The same as SQL for an administrator; nothing is run."""
    with reading(open_database(settings)) as c:
        return roles.statements(c, role_names(settings))
