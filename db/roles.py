"""Three PostgreSQL roles, for a database administrator to grant to people and programs.

    writer    what laudos itself needs between two upgrades, back-ups included: rows, but no table; the
              audit only grows
    reader    views and tables without report text, payloads, vectors, patient keys and people's names, but
              for who took a model back (champion_history)
    auditor   what the reader sees, and runs, decisions, the audit, configuration hashes and the groups that
              patients are of; still no text

PostgreSQL's views run with their owner's rights, so what a view shows is shown to every role; none shows
text. Columns of tables are granted one by one: a new free-form column is hidden until it is named here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

from sqlalchemy import JSON, Column, Connection, LargeBinary, Table, Text, inspect

from db import ddl
from db.ddl import name_in
from db.errors import ConfigurationError
from db.tables import metadata
from db.views import VIEWS

REVISION = "alembic_version"
APPEND_ONLY = {"audit"}


@dataclass(frozen=True)
class Roles:
    """What the three are called."""

    writer: str = "laudos_writer"
    reader: str = "laudos_reader"
    auditor: str = "laudos_auditor"


# a patient, or a text that a table of likely ones would reveal (a sha256 of "no findings" is no secret)
_NEVER = {"report.patient_key", "report_version.raw_sha", "quarantine.raw_sha"}
_AUDITOR_TABLES = {"run", "promotion", "audit", "patient_group"}
_AUDITOR_COLUMNS = {"model.config_sha", "label.actor", "candidate.decided_by", "candidate.plan_sha"}
# texts and JSON documents that hold ids, counts and laudos' own words
_FREE_FORM_FOR_ALL = {
    "source.last_key",
    "report.external_id",
    "report_version.repairs",
    "quarantine.external_id",
    "snapshot.recipe",
    "synthetic_set.audit",
    "synthetic_set.kept",
    "model.path",
    "model.config",
    "prediction.probabilities",
    "shadow_prediction.probabilities",
}
_FREE_FORM_FOR_AUDITOR = {
    "run.failure",
    "promotion.reasons",
    "audit.detail",
    "quarantine.closed_because",
    "candidate.reasons",
    "candidate.because",
}


def create(c: Connection, roles: Roles) -> list[str]:
    """Create the roles that are missing and grant each its share; returns the names that were created.

    May be run again at any time: what was granted to the roles by hand is taken back. Raises
    ConfigurationError on SQLite, and with the SQL for an administrator where this user may create no role.
    """
    require_postgresql(c)
    missing = [role for role in astuple(roles) if role not in _existing(c, roles)]
    creation = [_creation(c, role) for role in missing]
    if missing and not _may_create(c):
        raise ConfigurationError(
            f"this user may not create roles; let an administrator run: {'; '.join(creation)}; and then run "
            '"laudos db roles" again ("laudos db roles --print" shows all that it does)'
        )
    ddl.run(c, *creation, *_grants(c, roles, astuple(roles)))
    return missing


def refresh(c: Connection, roles: Roles) -> None:
    """Grant anew to those of the roles that `create` was ever run for here; an upgrade ends with this."""
    if c.dialect.name == "postgresql":
        present = [role for role in _existing(c, roles) if _serves_here(c, role)]
        ddl.run(c, *_grants(c, roles, present))


def statements(c: Connection, roles: Roles) -> list[str]:
    """What `create` would run, for an administrator to read and run. Raises ConfigurationError on SQLite."""
    require_postgresql(c)
    there = _existing(c, roles)
    creation = [_creation(c, role) for role in astuple(roles) if role not in there]
    return [f"{one};" for one in (*creation, *_grants(c, roles, astuple(roles)))]


def handing_back(c: Connection) -> list[str]:
    """SQL that gives tables and views of ours to who owns the others: another user's upgrade made them."""
    if c.dialect.name != "postgresql":
        return []
    found = _owners(c)
    return [
        f"ALTER TABLE {name} OWNER TO {found[REVISION]}"
        for name, owner in found.items()
        if owner != found.get(REVISION, owner)
    ]


def require_owner(c: Connection) -> None:
    """Raises ConfigurationError where the tables are another user's, who could not use what this one adds."""
    if c.dialect.name != "postgresql":
        return
    if strayed := handing_back(c):
        raise ConfigurationError(
            "the tables and views are not all of one owner, who could not use what is another's; let an "
            f"administrator run: {'; '.join(strayed)}; and then run this again as that owner"
        )
    me, owner = c.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one(), _owners(c).get(REVISION)
    if owner not in (None, me):
        raise ConfigurationError(
            f"the tables belong to user {owner}, to whom all that user {me} adds would be closed: run this "
            f"as {owner} (LAUDOS_DATABASE overrules laudos.toml), or, where you may act as it, with "
            f"options=-crole%3D{owner} in the URL's query"
        )


def shown(table: Table, *, to_auditor: bool) -> list[str]:
    """The columns of a table that the auditor, or else the reader, may read."""
    if table.name in _AUDITOR_TABLES and not to_auditor:
        return []
    return [column.name for column in table.columns if _is_shown(column, to_auditor)]


def require_postgresql(c: Connection) -> None:
    if c.dialect.name != "postgresql":
        raise ConfigurationError(
            "roles are PostgreSQL's; an SQLite file is protected by the permissions of the file and its "
            'folder (chmod, chown). "laudos export predictions" writes what others may see'
        )


def _is_shown(column: Column[object], to_auditor: bool) -> bool:
    name = f"{column.table.name}.{column.name}"
    if name in _NEVER or (name in _AUDITOR_COLUMNS and not to_auditor):
        return False
    if isinstance(column.type, Text | JSON | LargeBinary):
        return name in _FREE_FORM_FOR_ALL or (to_auditor and name in _FREE_FORM_FOR_AUDITOR)
    return True


def _grants(c: Connection, roles: Roles, present: Sequence[str]) -> Iterator[str]:
    """Each present role's share, from nothing: what it held before is taken back first."""
    if not present:
        return
    place = _place(c)
    everyone = ", ".join(name_in(c.dialect, role) for role in present)
    views = ", ".join(view.name for view in VIEWS)
    if place.is_ours:
        yield f"GRANT CONNECT ON DATABASE {place.database} TO {everyone}"
        yield f"REVOKE CREATE ON SCHEMA {place.schema} FROM PUBLIC"  # the default from PostgreSQL 15 on
        yield f"GRANT USAGE ON SCHEMA {place.schema} TO {everyone}"
    yield f"REVOKE ALL ON {', '.join(metadata.tables)}, {views}, {REVISION} FROM {everyone}"
    yield f"GRANT SELECT ON {views}, {REVISION} TO {everyone}"
    if roles.writer in present:
        yield from _writers_share(c, place, name_in(c.dialect, roles.writer))
    for role, to_auditor in ((roles.reader, False), (roles.auditor, True)):
        if role in present:
            yield from _readers_share(c, name_in(c.dialect, role), to_auditor)


def _writers_share(c: Connection, place: _Place, writer: str) -> Iterator[str]:
    if place.is_ours:
        yield f"GRANT TEMPORARY ON DATABASE {place.database} TO {writer}"
    for table in metadata.tables:
        may = "SELECT, INSERT" if table in APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
        yield f"GRANT {may} ON {table} TO {writer}"
    there = inspect(c).get_sequence_names()
    sequences = [name for name in (f"{table}_id_seq" for table in metadata.tables) if name in there]
    yield f"GRANT USAGE, SELECT ON SEQUENCE {', '.join(sequences)} TO {writer}"
    # what a later upgrade adds can be written at once, whoever runs it; readers see it once it is named here
    for_owner = f"ALTER DEFAULT PRIVILEGES FOR ROLE {place.owner} IN SCHEMA {place.schema} GRANT"
    yield f"{for_owner} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {writer}"
    yield f"{for_owner} USAGE, SELECT ON SEQUENCES TO {writer}"


def _readers_share(c: Connection, reader: str, to_auditor: bool) -> Iterator[str]:
    for table in metadata.tables.values():
        if columns := shown(table, to_auditor=to_auditor):
            names = ", ".join(name_in(c.dialect, column) for column in columns)
            yield f"GRANT SELECT ({names}) ON {table.name} TO {reader}"


@dataclass(frozen=True)
class _Place:
    """Where the tables are and whose they are, as SQL names; `is_ours`: this user owns the database."""

    schema: str
    database: str
    owner: str
    is_ours: bool


def _place(c: Connection) -> _Place:
    found = c.exec_driver_sql(
        "SELECT quote_ident(current_schema()), quote_ident(current_database()), "
        "quote_ident(pg_get_userbyid(relowner)), pg_has_role(datdba, 'USAGE') FROM pg_class, pg_database "
        f"WHERE pg_class.oid = '{REVISION}'::regclass AND datname = current_database()"
    )
    return _Place(*found.one())


def _owners(c: Connection) -> dict[str, str]:
    """Table or view of ours -> its owner, as an SQL name."""
    found = c.exec_driver_sql(
        "SELECT relname, quote_ident(pg_get_userbyid(relowner)) FROM pg_class "
        "WHERE relname = ANY(%s) AND pg_table_is_visible(oid) ORDER BY relname",
        ([*metadata.tables, *(view.name for view in VIEWS), REVISION],),
    )
    return {row[0]: row[1] for row in found}


def _creation(c: Connection, role: str) -> str:
    return f"CREATE ROLE {name_in(c.dialect, role)} NOLOGIN"


def _existing(c: Connection, roles: Roles) -> list[str]:
    found = c.exec_driver_sql("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(astuple(roles)),))
    return [row[0] for row in found]


def _serves_here(c: Connection, role: str) -> bool:
    """Roles are the server's: one may have been created for another database on it."""
    return bool(c.exec_driver_sql("SELECT has_table_privilege(%s, %s, 'SELECT')", (role, REVISION)).scalar())


def _may_create(c: Connection) -> bool:
    asked = "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
    return bool(c.exec_driver_sql(asked).scalar())
