"""A source's own schema: opening it without leaving a trace, and finding the columns that were named."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Date,
    DateTime,
    Engine,
    create_engine,
    event,
    inspect,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.types import TypeEngine

from db.engine import connect_args_of, in_utf8_and_iso, parse_url
from db.errors import ConfigurationError
from db.source_values import is_iso

SQLITE_PATIENCE_S = 60.0

_NO_TIME = (
    "updated_at: column {name!r} is {found}; name another, "
    "or leave updated_at out, and every run compares everything"
)


def open_source(url: str) -> Engine:
    """An engine that only reads. Raises ConfigurationError for an unusable URL or a missing file."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(
            parsed, hide_parameters=True, pool_pre_ping=True, connect_args=connect_args_of(parsed)
        )
        if parsed.drivername.endswith("+psycopg"):
            # before SQLAlchemy's own look at the server
            event.listen(engine, "connect", _refuse_bytes, insert=True)
            event.listen(engine, "connect", in_utf8_and_iso)
            event.listen(engine, "connect", _take_any_moment)
        return engine
    path = Path(parsed.database or "").expanduser()
    if not path.is_file():
        raise ConfigurationError(f"there is no SQLite file {path}; check the source's url")
    engine = create_engine(parsed, hide_parameters=True, connect_args={"timeout": SQLITE_PATIENCE_S})
    event.listen(engine, "connect", _only_read)
    return engine


def reflected(
    engine: Engine, name: str, schema: str | None, purposes: Mapping[str, str]
) -> dict[str, ReflectedColumn]:
    """The table's columns by name. Raises ConfigurationError naming what is missing, and the nearest."""
    inspector = inspect(engine)
    try:
        columns = {found["name"]: found for found in inspector.get_columns(name, schema=schema)}
    except NoSuchTableError:
        columns = {}
    if not columns:
        there = [*inspector.get_table_names(schema=schema), *inspector.get_view_names(schema=schema)]
        raise ConfigurationError(f"there is no table or view {name!r}{_nearest(name, there)}")
    wrong = [
        f"{purpose}: {name!r} has no column {wanted!r}{_nearest(wanted, columns)}"
        for purpose, wanted in purposes.items()
        if wanted not in columns
    ]
    if wrong:
        raise ConfigurationError("; ".join(wrong))
    return columns


@dataclass(frozen=True)
class UpdatedAt:
    """The column that moves when a row changes, and how a moment is written in it."""

    name: str
    type: TypeEngine[Any]
    as_text: bool
    zone: ZoneInfo

    @classmethod
    def of(
        cls, engine: Engine, columns: Mapping[str, ReflectedColumn], name: str | None, zone: ZoneInfo
    ) -> UpdatedAt | None:
        """Raises ConfigurationError where the column's type tells no time."""
        if name is None:
            return None
        kind = columns[name]["type"]
        while isinstance(kind, DOMAIN):
            kind = kind.data_type
        as_text = engine.dialect.name == "sqlite" or _python_type(kind) is str
        if not as_text and not isinstance(kind, (Date, DateTime)):
            raise ConfigurationError(_NO_TIME.format(name=name, found=f"{kind}, neither a date nor a time"))
        return cls(name, kind, as_text, zone)

    def compared(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column, for comparisons: as a moment, even with one that the driver gave as text."""
        return column if self.as_text else type_coerce(column, self.type)

    def at_source(self, moment: datetime) -> Any:
        """A value of the column's kind that is no later than `moment`."""
        local = moment.astimezone(self.zone)
        if self.as_text:
            # text in ISO 8601 sorts by its date first; a day earlier covers any offset written behind it
            return (local - timedelta(days=1)).date().isoformat()
        if isinstance(self.type, DateTime):
            return local if self.type.timezone else local.replace(tzinfo=None)
        return local.date()


def refuse_unordered(engine: Engine, column: ColumnElement[Any], moves: UpdatedAt) -> None:
    """Raises ConfigurationError where the column's values, as text, do not sort by time."""
    if not moves.as_text:
        return
    with engine.connect() as connection:
        sample = connection.scalars(select(column).where(column.is_not(None)).limit(100)).all()
    if not all(map(is_iso, sample)):
        raise ConfigurationError(_NO_TIME.format(name=moves.name, found="not a date or time in ISO 8601"))


def _refuse_bytes(connection: Any, _record: object) -> None:
    """Raises ConfigurationError where the driver would give bytes for every text."""
    if connection.info.parameter_status("client_encoding") == "SQL_ASCII":
        raise ConfigurationError(
            "url: its database is in SQL_ASCII, which tells no encoding; add ?client_encoding=utf8, "
            "or =latin1 where not all of it is UTF-8"
        )


def _take_any_moment(connection: Any, _record: object) -> None:
    """Let 'infinity', years B.C. and those past 9999 come as text: psycopg would end the page over them."""
    import psycopg
    from psycopg.adapt import Loader

    def lenient(strict: Any) -> type[Loader]:
        class OrAsText(Loader):
            def __init__(self, oid: int, context: Any = None) -> None:
                super().__init__(oid, context)
                self._strict = strict(oid, context)

            def load(self, data: Any) -> Any:
                try:
                    return self._strict.load(data)
                except (psycopg.DataError, ValueError):
                    return bytes(data).decode()

        return OrAsText

    for kind in ("date", "timestamp", "timestamptz"):
        oid = psycopg.adapters.types[kind].oid
        strict = psycopg.adapters.get_loader(oid, psycopg.pq.Format.TEXT)
        connection.adapters.register_loader(oid, lenient(strict))


def _only_read(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA query_only = ON")
    # SQLite takes any bytes for text: let them through, cleaning reads them
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")


def _python_type(kind: TypeEngine[Any]) -> type[Any] | None:
    try:
        return kind.python_type
    except NotImplementedError:  # what SQLAlchemy says of a type that no Python type stands for
        return None


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(map(repr, names))}" if names else "; there is none at all"
