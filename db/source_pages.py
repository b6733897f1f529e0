"""Where a page of a source's rows ends: at so many rows or bytes, but never between rows of one key."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Text, and_, cast, func, literal, or_
from sqlalchemy.types import TypeEngine

Values = Sequence[Any]

# what db.source_schema lets through for bytes that are no UTF-8
_STRAY = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class PageSize:
    """What a page holds at most. A page ends at the row that fills it, whichever is reached first."""

    rows: int
    bytes: int

    def doubled(self) -> PageSize:
        return PageSize(2 * self.rows, 2 * self.bytes)


def weight(text: object) -> int:
    """About how many bytes a text takes."""
    return len(text) if isinstance(text, str | bytes | bytearray | memoryview) else 0


def filled(rows: Iterable[Values], text_at: int, size: PageSize) -> Iterator[list[Values]]:
    """The rows in pages of a size."""
    page: list[Values] = []
    room = size.bytes
    for values in rows:
        page.append(values)
        text = values[text_at]
        room -= len(text) if isinstance(text, str) else weight(text)
        if room <= 0 or len(page) == size.rows:
            yield page
            page, room = [], size.bytes
    if page:
        yield page


def beyond(keys: Sequence[ColumnElement[Any]], after: Values) -> ColumnElement[bool]:
    """(a, b) > (x, y), spelled so that every database can walk its index on a."""
    last = [_last(value, key.type) for key, value in zip(keys, after, strict=True)]
    first: ColumnElement[bool] = keys[0] > last[0]
    if len(keys) == 1:
        return first
    return and_(keys[0] >= last[0], or_(first, keys[1] > last[1]))


def _last(value: Any, kind: TypeEngine[Any]) -> ColumnElement[Any]:
    """A key's value, to compare its column with just as that sorts.

    Of the key's own type: a moment that came as text ('infinity') goes back as a moment. Where we know of
    none the database must find it: called text, it would compare a citext letter by letter.
    """
    if isinstance(value, str) and _STRAY.search(value):
        # SQLite: bytes that its table calls text. A function's value changes no number beside it into text
        stored = literal(value.encode("utf-8", "surrogateescape"), LargeBinary())
        return func.coalesce(cast(stored, Text()), None)
    return literal(value, kind)


def without_last_key(page: list[Values], key_at: Sequence[int]) -> list[Values]:
    """A page without the rows of its last key, of which more may follow.

    Keys that differ only in case, accents, blanks or punctuation count as one: a source's collation may
    hold them equal, and then "greater than the last" would pass over the rest of them.
    """
    last = _folded(page[-1], key_at)
    end = len(page)
    while end and _folded(page[end - 1], key_at) == last:
        end -= 1
    return page[:end]


def _folded(values: Values, key_at: Sequence[int]) -> tuple[Any, ...]:
    return tuple(_fold(values[n]) if isinstance(values[n], str) else values[n] for n in key_at)


def _fold(key: str) -> str:
    letters = unicodedata.normalize("NFKD", key.casefold())
    return "".join(one for one in letters if one.isalnum())
