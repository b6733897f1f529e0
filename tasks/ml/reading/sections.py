"""A report taken apart into its sections, and a findings section into its clauses: joined, the report.

Nothing is guessed: what is under a heading that headings.yaml does not know is left as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from tasks.ml.checked_yaml import CheckedFile, Strict

Kind = Literal["context", "findings", "other"]

FILE: Final = Path(__file__).with_name("headings.yaml")
HEADING_WORDS_MAX = 7

_INLINE = re.compile(r"([^:\n]{2,60}):\s")
_SENTENCE_END = re.compile(r"(?<=[^\s.]{3}\.) (?=[A-ZÀ-Ú])")
_ITEM = re.compile(r"\s*[-*•] ")


Words = Annotated[tuple[str, ...], Field(min_length=1)]


class Headings(Strict):
    """The file. `conclusion` and `closing` divide no report here: see tasks/ml/reading/conclusions.py."""

    context: Words
    findings: Words
    conclusion: Words
    closing: Words

    @model_validator(mode="after")
    def _differ(self) -> Self:
        seen: dict[str, str] = {}
        for kind, headings in self:
            for one in {folded(heading) for heading in headings}:
                if one in seen:
                    raise ValueError(f"{one!r} cannot be both {seen[one]} and {kind}")
                seen[one] = kind
        return self


@dataclass(frozen=True)
class Section:
    """`text` with its heading; `gap` is the white space that follows it in the report."""

    text: str
    gap: str
    kind: Kind


def folded(text: str) -> str:
    """Small letters without accents, and no full stop or colon at the end."""
    bare = "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))
    return bare.strip().rstrip(":.").casefold()


def sections(text: str) -> list[Section]:
    """In their order; `text + gap` of all of them, joined, is the report."""
    parts: list[tuple[Kind, list[str]]] = []
    after_blank, headed = True, False
    for line in text.splitlines(keepends=True):
        # right under a heading that stands alone, only a heading that is known ends the section
        kind = _heading(line, guess=not headed)
        # text after an empty line is under no heading any more, unless the heading stood alone
        if kind is None and line.strip() and after_blank and not headed:
            kind = "other"
        if kind is not None or not parts:
            parts.append((kind or "other", []))
            headed = kind is not None and not _INLINE.match(line)
        elif line.strip():
            headed = False
        after_blank = not line.strip()
        parts[-1][1].append(line)
    return [_section("".join(lines), kind) for kind, lines in parts]


def clauses(findings: str) -> tuple[list[str], list[str]]:
    """The clauses that may change places, and what stands before, between and after them (one more).

    Items of a list, else what semicolons divide, else sentences. The first of semicolons or sentences stays
    where it is, as it carries the heading and the opening; so does a sentence behind the last semicolon.
    """
    lines = findings.splitlines(keepends=True)
    if sum(bool(_ITEM.match(line)) for line in lines) > 1:
        return _listed(lines)
    if findings.count("; ") > 1:
        cuts = [at.end() for at in re.finditer("; ", findings)]
        last = _SENTENCE_END.search(findings, cuts[-1])
        end = last.start() if last else len(findings)
        ends = [*(cut - len("; ") for cut in cuts[1:]), len(findings[:end].rstrip(" .\n"))]
    else:
        cuts = [at.end() for at in _SENTENCE_END.finditer(findings)]
        ends = [*(cut - len(" ") for cut in cuts[1:]), len(findings)]
    return _cut(findings, list(zip(cuts, ends, strict=True)) if cuts else [])


def joined(moved: Sequence[str], between: Sequence[str]) -> str:
    """Fewer clauses than there were places for: the last places go, and what stood between them."""
    return "".join(a + b for a, b in zip(between, moved, strict=False)) + between[-1]


def _listed(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Each item without its line end, which belongs to the place."""
    spans, at = [], 0
    for line in lines:
        if _ITEM.match(line):
            spans.append((at, at + len(line.rstrip("\n"))))
        at += len(line)
    return _cut("".join(lines), spans)


def _cut(text: str, spans: Sequence[tuple[int, int]]) -> tuple[list[str], list[str]]:
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    outside = [text[edges[at] : edges[at + 1]] for at in range(0, len(edges), 2)]
    return [text[start:end] for start, end in spans], outside


def _section(text: str, kind: Kind) -> Section:
    body = text.rstrip()
    return Section(body, text[len(body) :], kind)


def _heading(line: str, *, guess: bool) -> Kind | None:
    """What the heading in this line announces, "other" for what merely looks like one; None without one."""
    if _ITEM.match(line) or not line.strip():
        return None
    inline = _INLINE.match(line)
    words = inline[1] if inline else line
    kind = _known().get(folded(words))
    if kind is None and guess and _looks_like_one(words, alone=inline is None):
        return "other"
    return kind


def _looks_like_one(words: str, *, alone: bool) -> bool:
    ended = alone and words.strip()[-1] in ".;,!?"
    return not ended and ". " not in words and len(words.split()) <= HEADING_WORDS_MAX


@cache
def known_headings() -> Headings:
    """What headings.yaml holds."""
    return CheckedFile(FILE, Headings).content


@cache
def _known() -> dict[str, Kind]:
    return dict(_pairs(known_headings()))


def _pairs(content: Headings) -> Iterator[tuple[str, Kind]]:
    for heading in content.context:
        yield folded(heading), "context"
    for heading in content.findings:
        yield folded(heading), "findings"
