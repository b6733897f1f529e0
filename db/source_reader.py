"""Reading a hospital's table page by page, never writing to it.

Pages follow (updated_at, id), or id alone for a comparison of everything. Each is a short transaction
of its own, so that neither a long one burdens the source nor a lost connection costs more than a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from types import TracebackType
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Select, and_, column, or_, select, table
from sqlalchemy.exc import SQLAlchemyError

from db.engine import failure_of
from db.errors import ConfigurationError, DatabaseFailure
from db.source_schema import UpdatedAt, open_source, reflected, refuse_unordered
from db.source_values import as_date, as_instant, as_key


@dataclass(frozen=True)
class SourceTable:
    """Where reports arrive and which column is what. `zone` holds where `updated_at` names none."""

    name: str
    url: str = field(repr=False)
    table: str
    schema: str | None
    id: str
    text: str
    updated_at: str | None
    patient: str | None
    date: str | None
    labels: dict[str, str]
    zone: ZoneInfo

    def columns(self) -> dict[str, str]:
        """What each column is for -> its name, in the order in which a page holds them."""
        given = {"id": self.id, "text": self.text}
        given |= {"updated_at": self.updated_at} if self.updated_at else {}
        given |= {"patient": self.patient} if self.patient else {}
        given |= {"date": self.date} if self.date else {}
        return given | {f"labels.{classifier}": name for classifier, name in self.labels.items()}


@dataclass(frozen=True)
class SourceRow:
    """One row as read. `text` and the labels are what the driver gave; None ids are broken ones."""

    external_id: str | None
    text: object = field(repr=False)
    updated_at: datetime | None
    patient: str | None = field(repr=False)
    date: date | None
    labels: dict[str, object]


class SourceReader:
    """A source, open for reading. Raises ConfigurationError where its table or a column is not there."""

    def __init__(self, source: SourceTable) -> None:
        self.source = source
        purposes = source.columns()
        with self._errors_told():
            self._engine = open_source(source.url)
            found = reflected(self._engine, source.table, source.schema, purposes)
            self._moves = UpdatedAt.of(self._engine, found, source.updated_at, source.zone)
            # untyped columns: values come as the driver gives them, and a strange date breaks no page
            self._table = table(source.table, *map(column, set(purposes.values())), schema=source.schema)
            if self._moves is not None:
                refuse_unordered(self._engine, self._table.c[self._moves.name], self._moves)
        self._id = self._table.c[source.id]
        self._purposes = list(purposes)
        # one column may serve two purposes, such as a label of two classifiers
        self._all = select(*(self._table.c[name].label(f"c{n}") for n, name in enumerate(purposes.values())))

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def pages(self, since: datetime | None, rows: int) -> Iterator[list[SourceRow]]:
        """Pages of `rows` rows changed at or after `since` (None: all), oldest change first.

        Rows without an updated_at come first, for nothing tells whether they changed; rows without an id
        come last. Without an updated_at column: `all_rows`.
        """
        if self._moves is None:
            yield from self.all_rows(rows)
            return
        moment = self._table.c[self._moves.name]
        yield from self._keyset(moment.is_(None), (self._id,), rows)
        start = self._moves.at_source(since) if since is not None else None
        changed = moment >= start if start is not None else moment.is_not(None)
        yield from self._keyset(changed, (moment, self._id), rows)
        yield from self._without_id(changed | moment.is_(None), rows)

    def all_rows(self, rows: int) -> Iterator[list[SourceRow]]:
        """Every row, in pages by id; those without an id come last."""
        yield from self._keyset(None, (self._id,), rows)
        yield from self._without_id(None, rows)

    def _keyset(
        self, condition: ColumnElement[bool] | None, keys: tuple[ColumnElement[Any], ...], rows: int
    ) -> Iterator[list[SourceRow]]:
        """Pages after one another by `keys`; rows that share a key are never torn apart by a page's end."""
        query = self._all.where(self._id.is_not(None)).order_by(*keys)
        query = query if condition is None else query.where(condition)
        after: tuple[Any, ...] | None = None
        limit = rows
        while True:
            found = self._fetch(query.where(_beyond(keys, after)) if after else query, limit)
            whole = len(found) < limit
            page = found if whole else _up_to_last_key(found, len(keys), self._purposes)
            if page:
                after = _key_of(page[-1], len(keys), self._purposes)
                limit = rows
                yield [self._row(values) for values in page]
            else:
                limit *= 2  # one key fills the whole page: look further until another comes
            if whole:
                return

    def _without_id(self, condition: ColumnElement[bool] | None, rows: int) -> Iterator[list[SourceRow]]:
        query = self._all.where(self._id.is_(None))
        query = query if condition is None else query.where(condition)
        with self._errors_told(), self._reading() as connection:
            result = connection.execution_options(yield_per=rows).execute(query)
            for page in result.partitions():
                yield [self._row(tuple(values)) for values in page]

    def _fetch(self, query: Select[Any], limit: int) -> list[tuple[Any, ...]]:
        with self._errors_told(), self._reading() as connection:
            return [tuple(values) for values in connection.execute(query.limit(limit))]

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        options = {"postgresql_readonly": True} if self._engine.dialect.name == "postgresql" else {}
        with self._engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """Database errors, named after the source and free of its rows."""
        failure: DatabaseFailure | None = None
        try:
            yield
        except SQLAlchemyError as error:
            told = failure_of(error, ours=False)
            failure = DatabaseFailure(f"source {self.source.name!r}: {told}", retryable=told.retryable)
        except ConfigurationError as error:
            raise ConfigurationError(f"source {self.source.name!r}: {error}") from None
        if failure is not None:
            raise failure

    def _row(self, values: tuple[Any, ...]) -> SourceRow:
        by_purpose = dict(zip(self._purposes, values, strict=True))
        return SourceRow(
            external_id=as_key(by_purpose["id"]),
            text=by_purpose["text"],
            updated_at=as_instant(by_purpose.get("updated_at"), self.source.zone),
            patient=as_key(by_purpose.get("patient")),
            date=as_date(by_purpose.get("date")),
            labels={classifier: by_purpose[f"labels.{classifier}"] for classifier in self.source.labels},
        )


def _beyond(keys: tuple[ColumnElement[Any], ...], after: tuple[Any, ...]) -> ColumnElement[bool]:
    """(a, b) > (x, y), spelled so that every database can walk its index on a."""
    first: ColumnElement[bool] = keys[0] > after[0]
    if len(keys) == 1:
        return first
    return and_(keys[0] >= after[0], or_(first, keys[1] > after[1]))


def _key_of(values: tuple[Any, ...], keys: int, purposes: list[str]) -> tuple[Any, ...]:
    identity = values[purposes.index("id")]
    return (identity,) if keys == 1 else (values[purposes.index("updated_at")], identity)


def _up_to_last_key(found: list[tuple[Any, ...]], keys: int, purposes: list[str]) -> list[tuple[Any, ...]]:
    """A full page without the rows of its last key, of which more may follow."""
    last = _key_of(found[-1], keys, purposes)
    end = len(found)
    while end and _key_of(found[end - 1], keys, purposes) == last:
        end -= 1
    return found[:end]
