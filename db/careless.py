"""Tables of reports as careless programs keep them, for torture: what a database takes, it may hold.

On SQLite one table without types, which holds whatever is put there. On PostgreSQL two: one of text with
moments that bear a zone, one with numeric ids, bytes, real dates and moments without a zone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from db.tables import quarantine

_COLUMNS = "id, texto, atualizado_em, data_laudo, resultado"
_TABLES = {
    "sqlite": {"descuido": ""},
    "postgresql": {
        "descuido": "id TEXT, texto TEXT, atualizado_em TIMESTAMPTZ, data_laudo TEXT, resultado TEXT",
        "descuido_bytes": "id NUMERIC, texto BYTEA, atualizado_em TIMESTAMP, data_laudo DATE, resultado TEXT",
    },
}


def tables(engine: Engine) -> list[str]:
    """The names of the tables, each of which is a source."""
    return list(_TABLES[engine.dialect.name])


def create(c: Connection) -> None:
    for name, columns in _TABLES[c.dialect.name].items():
        c.execute(text(f"CREATE TABLE {name} ({columns or _COLUMNS})"))


def put(c: Connection, values: tuple[Any, ...], *, as_text: bool) -> tuple[str, str] | None:
    """Put a row (id, text, moment, date, label) where it fits; None where the database does not take it.

    Returns the table, and the sha that laudos must know the text by.
    """
    table = "descuido"
    if c.dialect.name == "sqlite":
        marks = "?, CAST(? AS TEXT), ?, ?, ?" if as_text else "?, ?, ?, ?, ?"
    else:
        marks = "%s, %s, %s, %s, %s"
        if not isinstance(values[1], (str, bytes, type(None))):
            values = (values[0], str(values[1]), *values[2:])  # its columns of text hold text
        if isinstance(values[1], bytes) or isinstance(values[0], (int, float)):
            table, values = "descuido_bytes", _as_bytes(values)
    try:
        with c.begin_nested():
            c.exec_driver_sql(f"INSERT INTO {table} ({_COLUMNS}) VALUES ({marks})", values)
    except (SQLAlchemyError, UnicodeError, OverflowError):
        return None
    return table, _sha(values[1], as_text=as_text and c.dialect.name == "sqlite")


def count(c: Connection, table: str) -> int:
    """How many rows stand there."""
    return int(c.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def reasons(c: Connection) -> Counter[str]:
    """Why rows lie in quarantine, and how many do."""
    query = select(quarantine.c.reason, func.count().label("rows")).group_by(quarantine.c.reason)
    return Counter({row.reason: row.rows for row in c.execute(query)})


def _as_bytes(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row for the table of bytes: an id in hexadecimal becomes its number."""
    identity, content, *others = values
    if isinstance(identity, str) and identity.startswith("g"):
        identity = int(identity[1:], 16)
    content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return (identity, content, *others)


def _sha(content: Any, *, as_text: bool) -> str:
    """sha256 of a text as a driver hands it over."""
    if as_text and isinstance(content, bytes):
        content = content.decode("utf-8", "surrogateescape")
    if content is None:
        content = ""
    data = content if isinstance(content, bytes) else str(content).encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()
