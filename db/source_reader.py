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
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Select, column, null, select, table
from sqlalchemy.exc import SQLAlchemyError

from db.engine import failure_of, raise_alone
from db.errors import ConfigurationError, DatabaseFailure
from db.source_pages import PageSize, Values, beyond, filled, weight, without_last_key
from db.source_schema import UpdatedAt, open_source, reflected, refuse_unordered
from db.source_values import as_date, as_instant, as_key

# the places of a row's values; labels and groups follow
ID, TEXT, UPDATED_AT = range(3)
_NO_GROUPS: dict[str, object] = {}


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
    groups: dict[str, str] = field(default_factory=dict)  # sex, age, birth_date, race, institution

    def columns(self) -> dict[str, str]:
        """What each column is for -> its name."""
        given = {"id": self.id, "text": self.text}
        given |= {"updated_at": self.updated_at} if self.updated_at else {}
        given |= {"patient": self.patient} if self.patient else {}
        given |= {"date": self.date} if self.date else {}
        given |= self.groups
        return given | {f"labels.{classifier}": name for classifier, name in self.labels.items()}


class SourceRow(NamedTuple):
    """One row as read. `text`, labels and groups are what the driver gave; None ids are broken ones.

    A tuple, like all that is made once a row: a frozen dataclass takes four times as long to make.
    """

    external_id: str | None
    text: object
    updated_at: datetime | None
    patient: str | None
    date: date | None
    labels: dict[str, object]
    groups: dict[str, object] = _NO_GROUPS

    def __repr__(self) -> str:
        return f"SourceRow(external_id={self.external_id!r})"


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
        self._keys: dict[int, ColumnElement[Any]] = {ID: self._id}
        if self._moves is not None:
            self._keys[UPDATED_AT] = self._moves.compared(self._table.c[self._moves.name])
        fixed = (source.id, source.text, source.updated_at, source.patient, source.date)
        # one column may serve two purposes, such as a label of two classifiers
        self._all = select(
            *(
                (null() if name is None else self._table.c[name]).label(f"c{n}")
                for n, name in enumerate([*fixed, *source.labels.values(), *source.groups.values()])
            )
        )

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def pages(self, since: datetime | None, size: PageSize) -> Iterator[list[SourceRow]]:
        """Pages of rows changed at or after `since` (None: all), oldest change first.

        Rows without an updated_at come first, for nothing tells whether they changed; rows without an id
        come last. Without an updated_at column: `all_rows`.
        """
        if self._moves is None:
            yield from self.all_rows(size)
            return
        moment = self._keys[UPDATED_AT]
        yield from self._keyset(moment.is_(None), (ID,), size)
        start = self._moves.at_source(since) if since is not None else None
        changed = moment >= start if start is not None else moment.is_not(None)
        yield from self._keyset(changed, (UPDATED_AT, ID), size)
        yield from self._without_id(changed | moment.is_(None), size)

    def all_rows(self, size: PageSize) -> Iterator[list[SourceRow]]:
        """Every row, in pages by id; those without an id come last."""
        yield from self._keyset(None, (ID,), size)
        yield from self._without_id(None, size)

    def _keyset(
        self, condition: ColumnElement[bool] | None, key_at: tuple[int, ...], size: PageSize
    ) -> Iterator[list[SourceRow]]:
        """Pages after one another by key; rows that share a key are never torn apart by a page's end."""
        keys = [self._keys[place] for place in key_at]
        query = self._all.where(self._id.is_not(None)).order_by(*keys)
        query = query if condition is None else query.where(condition)
        after: Values | None = None
        room = size
        while True:
            found, whole = self._fetch(query.where(beyond(keys, after)) if after else query, room)
            page = found if whole else without_last_key(found, key_at)
            if page:
                after = tuple(page[-1][place] for place in key_at)
                room = size
                yield [self._row(values) for values in page]
            else:
                room = room.doubled()  # one key fills the whole page: look further until another comes
            if whole:
                return

    def _without_id(self, condition: ColumnElement[bool] | None, size: PageSize) -> Iterator[list[SourceRow]]:
        query = self._all.where(self._id.is_(None))
        query = query if condition is None else query.where(condition)
        with self._errors_told(), self._reading() as connection:
            for page in filled(connection.execute(query), TEXT, size):
                yield [self._row(values) for values in page]

    def _fetch(self, query: Select[Any], room: PageSize) -> tuple[list[Values], bool]:
        """The first rows of a query, until the room is full; and whether these are all."""
        with self._errors_told(), self._reading() as connection:
            found = next(filled(connection.execute(query.limit(room.rows)), TEXT, room), [])
        return found, len(found) < room.rows and sum(weight(values[TEXT]) for values in found) < room.bytes

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        # streamed: what lies beyond a full page never comes here
        options: dict[str, Any] = {"stream_results": True, "max_row_buffer": 1000}
        if self._engine.dialect.name == "postgresql":
            options["postgresql_readonly"] = True
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
            raise_alone(failure)

    def _row(self, values: Values) -> SourceRow:
        key, text, moment, patient, day, *said = values
        groups = _NO_GROUPS
        if self.source.groups:
            groups = dict(zip(self.source.groups, said[len(self.source.labels) :], strict=True))
        return SourceRow(
            as_key(key),
            text,
            as_instant(moment, self.source.zone),
            as_key(patient),
            as_date(day, self.source.zone),
            dict(zip(self.source.labels, said, strict=False)),  # the groups follow
            groups,
        )
