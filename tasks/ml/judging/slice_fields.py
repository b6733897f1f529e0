"""What a holdout is cut by: a value a report for each field, from its text and from where it came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from tasks.ml.reading.conclusions import shipped
from tasks.ml.reading.languages import language_of
from tasks.ml.reading.sections import folded, sections

VALUES_MAX: Final = 24  # of one field; the rest are judged together
OTHERS: Final = "(others)"
UNDETERMINED: Final = "undetermined"  # a language that a report is too short or too telegraphic to tell
# up to so many words; a findings-only report has some 80, a signed-out pathology report some 400
LENGTHS_WORDS: Final = (50, 150, 400)


@dataclass(frozen=True)
class Field:
    """One way of cutting a holdout. values: (reports,) None where it is not known of a report.

    protected: groups of patients between whom a model must not differ.
    """

    name: str
    values: Sequence[str | None]
    protected: bool = False


def fields_of(
    texts: Sequence[str],
    institutions: Sequence[str],
    origins: Sequence[str],
    dates: Sequence[date | None],
    groups: Mapping[str, Sequence[str | None]] | None = None,
) -> list[Field]:
    """Every field by which these reports differ: one that has a single value cuts nothing.

    groups: of patients, such as sex -> (reports,) values; protected, as the institution is.
    """
    found = [
        Field("institution", institutions, protected=True),
        *(Field(name, values, protected=True) for name, values in (groups or {}).items()),
        Field("origin", origins),
        Field("month", months(dates)),
        Field("length", [length_of(text) for text in texts]),
        Field("language", languages(texts)),
        *section_fields(texts),
    ]
    return [_bounded(field) for field in found if len(set(field.values) - {None}) > 1]


def length_of(text: str) -> str:
    """The band of a text's length, such as "51-150 words"."""
    words, first = len(text.split()), 1
    for most in LENGTHS_WORDS:
        if words <= most:
            return f"{first}-{most} words"
        first = most + 1
    return f"{first} words and more"


def languages(texts: Sequence[str]) -> list[str | None]:
    """The language of each, UNDETERMINED included; all None where fewer than two languages are told."""
    told = [language_of(text) for text in texts]
    if len(set(told) - {None}) < 2:
        return [None] * len(texts)
    return [one or UNDETERMINED for one in told]


def months(dates: Sequence[date | None]) -> list[str | None]:
    """The month each report bears; the year alone for what is more than VALUES_MAX / 2 months older."""
    newest = max((one for one in dates if one is not None), default=None)
    if newest is None:
        return [None] * len(dates)
    since = newest.year * 12 + newest.month - VALUES_MAX // 2

    def told(one: date | None) -> str | None:
        if one is None:
            return None
        return f"{one:%Y-%m}" if one.year * 12 + one.month > since else f"{one.year:04d}"

    return [told(one) for one in dates]


def section_fields(texts: Sequence[str]) -> list[Field]:
    """Whether a report has a section with clinical context, with findings, with a conclusion."""
    ways: dict[str, Callable[[str], bool]] = {
        "section context": lambda text: any(part.kind == "context" for part in sections(text)),
        "section findings": lambda text: any(part.kind == "findings" for part in sections(text)),
        "section conclusion": lambda text: any(map(concludes, text.splitlines())),
    }
    return [
        Field(name, ["present" if holds(text) else "absent" for text in texts])
        for name, holds in ways.items()
    ]


def concludes(line: str) -> bool:
    """Whether a line is, or begins with, the heading of a conclusion."""
    heading, colon, _ = line.partition(":")
    return folded(heading if colon else line) in shipped().begin


def _bounded(field: Field) -> Field:
    """The most frequent values; what is beyond VALUES_MAX of them counts as one."""
    counted = Counter(value for value in field.values if value is not None)
    kept = {value for value, _ in sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:VALUES_MAX]}
    return replace(
        field, values=[value if value is None or value in kept else OTHERS for value in field.values]
    )
