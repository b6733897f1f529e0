"""What is told about a configuration that does not fit. Values are left out: they may be secrets."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(map(repr, names))}" if names else "; none is configured"


def told(error: ValidationError, root: type[BaseModel]) -> str:
    """Every problem of a validation in one line."""
    problems = error.errors(include_input=False, include_url=False)
    return "; ".join(_problem(problem, root) for problem in problems)


def _problem(problem: Any, root: type[BaseModel]) -> str:
    location = tuple(str(part) for part in problem["loc"])
    where = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where!r}{nearest(location[-1], keys_of(_section(location[:-1], root)))}"
    if problem["type"] == "missing":
        return f"{where!r} is missing"
    if location[-1:] == ("[key]",) and problem["type"] == "string_pattern_mismatch":
        return (
            f"{location[-2]!r} under {location[0]!r} is no name: at most 64 letters, digits, '.', '_' and "
            "'-', of which neither '.' nor '-' comes first"
        )
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where!r}: {message}" if where else message


def keys_of(section: type[BaseModel]) -> list[str]:
    """The keys of a section as they are written in laudos.toml."""
    return [field.alias or name for name, field in section.model_fields.items()]


def _section(location: tuple[str, ...], root: type[BaseModel]) -> type[BaseModel]:
    """The section a location lies in: [sources.<name>] is a SourceSettings, whatever its name."""
    section, parts = root, list(location)
    while parts:
        key = parts.pop(0)
        annotation = section.model_fields[key].annotation if key in section.model_fields else None
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            parts = parts[1:]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            section = annotation
    return section


def nearest_variable(name: str, prefix: str, root: type[BaseModel]) -> str:
    """How an unknown environment variable should probably be spelt."""
    head, *rest = name.removeprefix(prefix).split("__")
    close = difflib.get_close_matches(head, [key.upper() for key in root.model_fields], n=1, cutoff=0.5)
    return f"; did you mean {prefix}{'__'.join([*close, *rest])}?" if close else ""


def require_known(where: str, named: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise ValueError where a name is none of the known ones, with the nearest of them."""
    for name in named:
        if name not in known:
            raise ValueError(f"{where} names {name!r}, which is none of {what}{nearest(name, known)}")
