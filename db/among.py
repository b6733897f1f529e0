"""`column IN (thousands of values)`, so that both databases answer it from an index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, any_, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

Value = TypeVar("Value")

VALUES_A_QUERY = 5000


def among(c: Connection, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """The column is one of the values: texts or numbers.

    PostgreSQL gets one array: a list of parameters is compared one by one with every row of the table
    (measured with 1000 of them on 20,000 rows: 650 ms against 10). SQLite gets one JSON array: to write out
    thousands of question marks and read them again costs more than to look the values up.
    """
    if c.dialect.name == "postgresql":
        return column == any_(literal(list(values), ARRAY(column.type)))
    each = func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(select(each.c.value))


def chunks(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """The values in pieces that fit one query each."""
    for start in range(0, len(values), VALUES_A_QUERY):
        yield values[start : start + VALUES_A_QUERY]
