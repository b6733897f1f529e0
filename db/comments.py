"""The explanations of db/tables.py, as comments in PostgreSQL. SQLite has no place for them.

They are no part of a migration: like the views, every upgrade writes this version's words.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from db import ddl
from db.ddl import literal, name_in
from db.tables import metadata

_FOUND = """
SELECT c.relname, coalesce(a.attname, ''), d.description
FROM pg_description d
JOIN pg_class c ON c.oid = d.objoid AND c.relkind = 'r' AND pg_table_is_visible(c.oid)
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE d.classoid = 'pg_class'::regclass
"""


def write(c: Connection) -> None:
    """Give every table and column its comment, in the caller's transaction; nothing where they stand."""
    if c.dialect.name == "postgresql":
        ddl.run(c, *_missing(c))


def found(c: Connection) -> dict[tuple[str, str], str]:
    """(table, column or '' for the table itself) -> its comment in the database."""
    return {(table, column): told for table, column, told in c.exec_driver_sql(_FOUND)}


def _missing(c: Connection) -> Iterator[str]:
    stands = found(c)
    for table in metadata.tables.values():
        if stands.get((table.name, "")) != table.comment:
            yield f"COMMENT ON TABLE {table.name} IS {literal(str(table.comment))}"
        for column in table.columns:
            if stands.get((table.name, column.name)) != column.comment:
                name = name_in(c.dialect, column.name)
                yield f"COMMENT ON COLUMN {table.name}.{name} IS {literal(str(column.comment))}"
