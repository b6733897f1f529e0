"""Phrases with choices in them: "[raras|ocasionais] <celulas>, <0,6..3,8> cm".

[a|b]        one of these          <nome>      one of the phrases of a symbol
<2..8>       a whole number        <0,6..3,8>  a number with one decimal, and a comma
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tasks.ml.synthesis.chance import Rng, integer, pick

_NUMBER = re.compile(r"(\d+(?:,\d)?)\.\.(\d+(?:,\d)?)")
SYMBOL = re.compile(r"[a-z_]+")
_LITERAL = re.compile(r"[^\[\]|<>]+")


@dataclass(frozen=True)
class Number:
    """Between two bounds, in tenths; whole unless `decimal`."""

    low: int
    high: int
    decimal: bool


@dataclass(frozen=True)
class Symbol:
    name: str


@dataclass(frozen=True)
class Choice:
    options: tuple[Phrase, ...]


@dataclass(frozen=True)
class Phrase:
    parts: tuple[str | Number | Symbol | Choice, ...]

    @cached_property
    def fixed(self) -> str | None:
        """What it says where there is nothing to choose."""
        literal = all(isinstance(part, str) for part in self.parts)
        return "".join(map(str, self.parts)) if literal else None

    def symbols(self) -> Iterator[str]:
        """The names of all symbols in it."""
        for part in self.parts:
            if isinstance(part, Symbol):
                yield part.name
            elif isinstance(part, Choice):
                for option in part.options:
                    yield from option.symbols()

    def may_be_blank(self, symbols: Mapping[str, Sequence[Phrase]]) -> bool:
        """Whether it can come out without a letter or a digit."""
        return all(_may_be_blank(part, symbols) for part in self.parts)

    def wordings(self, of_symbols: Mapping[str, int]) -> int:
        """How many ways there are to say it, the same words counted each time; a number is one."""
        return prod(_count(part, of_symbols) for part in self.parts)

    def realisations(self, symbols: Mapping[str, Sequence[Phrase]]) -> Iterator[str]:
        """Everything it can say, a number standing as "#"; the same words may come more than once."""
        yield from map("".join, product(*(_ways(part, symbols) for part in self.parts)))


def _may_be_blank(part: str | Number | Symbol | Choice, symbols: Mapping[str, Sequence[Phrase]]) -> bool:
    if isinstance(part, str):
        return not any(sign.isalnum() for sign in part)
    if isinstance(part, Number):
        return False
    options = part.options if isinstance(part, Choice) else symbols[part.name]
    return any(option.may_be_blank(symbols) for option in options)


def _count(part: str | Number | Symbol | Choice, of_symbols: Mapping[str, int]) -> int:
    if isinstance(part, Symbol):
        return of_symbols[part.name]
    return sum(option.wordings(of_symbols) for option in part.options) if isinstance(part, Choice) else 1


def _ways(part: str | Number | Symbol | Choice, symbols: Mapping[str, Sequence[Phrase]]) -> Sequence[str]:
    if isinstance(part, str):
        return (part,)
    if isinstance(part, Number):
        return ("#",)
    options = part.options if isinstance(part, Choice) else symbols[part.name]
    return [said for option in options for said in option.realisations(symbols)]


def parse(text: str) -> Phrase:
    """Raises ValueError, saying what is wrong, for brackets that do not match or an unknown <...>."""
    phrase, rest = _sequence(text, 0, inside=False)
    assert rest == len(text)
    return phrase


def _phrase(value: Any) -> Phrase:
    if not isinstance(value, str):
        raise ValueError(f"a phrase is text; put it in quotes (found a {type(value).__name__})")
    return parse(value)


Said = Annotated[Phrase, BeforeValidator(_phrase)]
Phrases = Annotated[tuple[Said, ...], Field(min_length=1)]


def _sequence(text: str, at: int, *, inside: bool) -> tuple[Phrase, int]:
    """The phrase from `at` to the end, or, inside a choice, to the next | or ]."""
    parts: list[str | Number | Symbol | Choice] = []
    while at < len(text):
        sign = text[at]
        if inside and sign in "|]":
            return Phrase(tuple(parts)), at
        if sign in "]|>":
            raise ValueError(f"{sign!r} without its opening bracket")
        if sign == "[":
            choice, at = _choice(text, at + 1)
            parts.append(choice)
        elif sign == "<":
            end = text.find(">", at)
            if end < 0:
                raise ValueError("'<' is never closed")
            parts.append(_reference(text[at + 1 : end]))
            at = end + 1
        else:
            literal = _LITERAL.match(text, at)
            assert literal is not None
            parts.append(literal[0])
            at = literal.end()
    if inside:
        raise ValueError("'[' is never closed")
    return Phrase(tuple(parts)), at


def _choice(text: str, at: int) -> tuple[Choice, int]:
    options = []
    while True:
        option, at = _sequence(text, at, inside=True)
        options.append(option)
        at += 1
        if text[at - 1] == "]":
            return Choice(tuple(options)), at


def _reference(inner: str) -> Number | Symbol:
    if number := _NUMBER.fullmatch(inner):
        low, high = (round(float(bound.replace(",", ".")) * 10) for bound in number.groups())
        if low > high:
            raise ValueError(f"<{inner}> runs backwards")
        return Number(low, high, "," in inner)
    if SYMBOL.fullmatch(inner):
        return Symbol(inner)
    raise ValueError(
        f"<{inner}> is neither a symbol, such as <lado> (a to z and _), nor a range, such as <2..8>"
    )


class Speaker:
    """Expands phrases for one report; a symbol named in `once` says the same throughout."""

    def __init__(self, symbols: Mapping[str, Sequence[Phrase]], once: Sequence[str], rng: Rng) -> None:
        self._symbols = symbols
        self._said: dict[str, str | None] = dict.fromkeys(once)
        self._rng = rng

    def say(self, phrase: Phrase) -> str:
        if phrase.fixed is not None:
            return phrase.fixed
        return "".join([part if isinstance(part, str) else self._part(part) for part in phrase.parts])

    def say_one(self, phrases: Sequence[Phrase]) -> str:
        return self.say(pick(self._rng, phrases))

    def say_about(self, form: Phrase, stands_for: Mapping[str, str]) -> str:
        """A form in which these symbols stand for these texts."""
        self._said.update(stands_for)
        return self.say(form)

    def _part(self, part: Number | Symbol | Choice) -> str:
        if isinstance(part, Choice):
            return self.say_one(part.options)
        if isinstance(part, Number):
            if not part.decimal:
                return str(integer(self._rng, part.low // 10, part.high // 10))
            whole, tenth = divmod(integer(self._rng, part.low, part.high), 10)
            return f"{whole},{tenth}"
        said = self._said.get(part.name)
        if said is None:
            said = self.say_one(self._symbols[part.name])
            if part.name in self._said:
                self._said[part.name] = said
        return said
