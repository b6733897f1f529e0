"""What views need and the two databases spell differently: one expression each, compiled for both."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.tables import Instant


class number_at(FunctionElement[float]):
    """number_at(json, key): the number that a JSON object holds under a key; null without one."""

    type = Float()
    inherit_cache = True
    name = "number_at"


class text_at(FunctionElement[str]):
    """text_at(json, key): the text that a JSON object holds under a key; null without one."""

    type = Text()
    inherit_cache = True
    name = "text_at"


class rules_told(FunctionElement[str]):
    """rules_told(reasons): a promotion's rules in words, "rule: what was found", each after a semicolon."""

    type = Text()
    inherit_cache = True
    name = "rules_told"


class a_day_ago(FunctionElement[Any]):
    """The moment 24 hours before the query."""

    type = Instant()
    inherit_cache = True
    name = "a_day_ago"


def _two(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> tuple[str, str]:
    document, key = (compiler.process(one, **kw) for one in element.clauses)
    return document, key


@compiles(number_at, "sqlite")
@compiles(text_at, "sqlite")
def _entry_on_sqlite(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    # a path ($."key") would miss a key with an accent: SQLAlchemy's JSON spells those as escapes
    document, key = _two(element, compiler, **kw)
    return f"(SELECT entry.value FROM json_each({document}) AS entry WHERE entry.key = {key})"


@compiles(number_at, "postgresql")
def _number_on_postgresql(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    document, key = _two(element, compiler, **kw)
    return f"CAST({document} ->> {key} AS DOUBLE PRECISION)"


@compiles(text_at, "postgresql")
def _text_on_postgresql(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    document, key = _two(element, compiler, **kw)
    return f"({document} ->> {key})"


@compiles(rules_told, "sqlite")
def _rules_on_sqlite(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    (reasons,) = (compiler.process(one, **kw) for one in element.clauses)
    told = "json_extract(rule.value, '$.rule') || ': ' || json_extract(rule.value, '$.found')"
    return f"(SELECT group_concat({told}, '; ') FROM json_each({reasons}) AS rule)"


@compiles(rules_told, "postgresql")
def _rules_on_postgresql(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    (reasons,) = (compiler.process(one, **kw) for one in element.clauses)
    told = "(rule ->> 'rule') || ': ' || (rule ->> 'found')"
    return f"(SELECT string_agg({told}, '; ') FROM json_array_elements({reasons}) AS rule)"


@compiles(a_day_ago, "sqlite")
def _day_ago_on_sqlite(_element: FunctionElement[Any], _compiler: SQLCompiler, **_kw: Any) -> str:
    # spelt as SQLAlchemy stores a moment, so that the two compare as text
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-1 day')"


@compiles(a_day_ago, "postgresql")
def _day_ago_on_postgresql(_element: FunctionElement[Any], _compiler: SQLCompiler, **_kw: Any) -> str:
    return "(now() - INTERVAL '24 hours')"
