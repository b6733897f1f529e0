"""Many new rows of one table at once: hundreds a statement on SQLite, COPY on PostgreSQL.

Both take whole columns, so that a row costs a tuple and no more, and a number is known before its row
is written, so that nothing need be read back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import chain, islice, repeat
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Column, Connection, Date, Integer, String, Table, func, select
from sqlalchemy.exc import DBAPIError

from db.tables import Instant

ROWS_A_STATEMENT = 500  # of eleven values at most: SQLite takes 32,766
# a BigInteger is an Integer, too: the first that fits counts
_SENT_AS: Final = {
    BigInteger: "int8",
    Integer: "int4",
    String: "text",
    JSON: "json",
    Date: "date",
    Instant: "timestamptz",
}


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
    else:
        _insert_many(c, table, names, rows)


def _as_stored(c: Connection, table: Table, name: str, values: Iterable[Any]) -> Iterable[Any]:
    kind = table.c[name].type
    convert: Callable[[Any], Any] | None = kind.dialect_impl(c.dialect).bind_processor(c.dialect)
    if convert is None:
        return values
    if isinstance(kind, JSON):  # nearly always the same empty one
        nothing = convert({})
        return (convert(value) if value else nothing for value in values)
    if c.dialect.name == "sqlite" and isinstance(kind, Instant | Date):
        # what SQLAlchemy writes, at a third of the cost
        short = _instant if isinstance(kind, Instant) else date.isoformat
        return (None if value is None else short(value) for value in values)
    return map(convert, values)


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(" ", "microseconds").removesuffix("+00:00")


def _insert_many(c: Connection, table: Table, names: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    """Hundreds of rows a statement: it costs as much as executemany, but SQLite works through them at one go.

    Between two rows of executemany Python's lock changes hands, and a thread that reads the next page
    meanwhile keeps it for up to 5 ms (sys.getswitchinterval) each time.
    """
    into = f"INSERT INTO {_written(c, table, names)} VALUES "
    row = f"({', '.join('?' * len(names))})"
    while some := list(islice(rows, ROWS_A_STATEMENT)):
        c.exec_driver_sql(into + ", ".join([row] * len(some)), tuple(chain.from_iterable(some)))


def _written(c: Connection, table: Table, names: Sequence[str]) -> str:
    """The table and its columns, as SQL wants them."""
    prepare = c.dialect.identifier_preparer
    return f"{prepare.format_table(table)} ({', '.join(map(prepare.quote, names))})"


def _copy(c: Connection, table: Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """In PostgreSQL's binary format: of a COPY as text that is cut off, its server's log quotes a row."""
    driver: Any = c.connection.driver_connection
    error: Exception | None = None
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY {_written(c, table, names)} FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types([_sent_as(table.c[name]) for name in names])
            for row in rows:
                copy.write_row(row)
    except driver.Error as failed:
        error = failed
    if error is not None:
        # as SQLAlchemy would have raised it: db.engine tells of it without the row it quotes
        raise DBAPIError(None, None, error, hide_parameters=True)


def _sent_as(column: Column[Any]) -> str:
    """PostgreSQL's name of the type."""
    return next(name for kind, name in _SENT_AS.items() if isinstance(column.type, kind))
