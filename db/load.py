"""Many new rows of one table at once: executemany on SQLite, COPY on PostgreSQL.

Both take whole columns, so that a row costs a tuple and no more, and a number is known before its row
is written, so that nothing need be read back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import repeat
from typing import Any

from sqlalchemy import JSON, Connection, Date, Table, func, insert, select
from sqlalchemy.exc import DBAPIError

from db.tables import Instant


def next_ids(c: Connection, table: Table, rows: int) -> Sequence[int]:
    """Numbers for so many new rows. On SQLite they are free because the transaction is the one writer."""
    if not rows:
        return []
    if c.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(table.name, "id")
        numbers = select(func.nextval(sequence)).select_from(func.generate_series(1, rows))
        return list(c.scalars(numbers))
    first = int(c.scalar(select(func.max(table.c.id))) or 0) + 1
    return range(first, first + rows)


def load(c: Connection, table: Table, columns: Mapping[str, Iterable[Any]], every: Mapping[str, Any]) -> None:
    """Write new rows: `columns` holds a value a row under each name, `every` what all rows share."""
    names = [column.name for column in table.columns if column.name in columns or column.name in every]
    rows = zip(
        *(
            repeat(*_as_stored(c, table, name, [every[name]]))
            if name in every
            else _as_stored(c, table, name, columns[name])
            for name in names
        ),
        strict=False,  # what all rows share has no end
    )
    if c.dialect.name == "postgresql":
        _copy(c, table, names, rows)
    elif found := list(rows):
        statement = insert(table).compile(dialect=c.dialect, column_keys=names)
        c.exec_driver_sql(str(statement), found)


def _as_stored(c: Connection, table: Table, name: str, values: Iterable[Any]) -> Iterable[Any]:
    kind = table.c[name].type
    convert: Callable[[Any], Any] | None = kind.dialect_impl(c.dialect).bind_processor(c.dialect)
    if convert is None:
        return values
    if isinstance(kind, JSON):  # nearly always the same empty one
        nothing = convert({})
        return (convert(value) if value else nothing for value in values)
    if c.dialect.name == "sqlite" and isinstance(kind, Instant | Date):
        # what SQLAlchemy writes, a third as dear
        short = _instant if isinstance(kind, Instant) else date.isoformat
        return (None if value is None else short(value) for value in values)
    return map(convert, values)


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _copy(c: Connection, table: Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    driver: Any = c.connection.driver_connection
    prepare = c.dialect.identifier_preparer
    columns = ", ".join(map(prepare.quote, names))
    error: Exception | None = None
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY {prepare.format_table(table)} ({columns}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)
    except driver.Error as failed:
        error = failed
    if error is not None:
        # as SQLAlchemy would have raised it: db.engine tells of it without the row it quotes
        raise DBAPIError(None, None, error, hide_parameters=True)
