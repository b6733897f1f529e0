"""How one institution words an exam: a YAML file a physician can edit, checked when it is loaded."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tasks.ml.checked_yaml import Strict
from tasks.ml.synthesis.medicine import Chance, Names
from tasks.ml.synthesis.phrases import Phrases

LISTED = "x"  # the symbol that stands for a list in the forms of `listings`
AGREES = "os"  # and the ending that agrees with it: "não vist<os>"

Joint = Literal["sentences", "list", "semicolons", "commas"]


class Section(Strict):
    """A part of a report; `lines` make its body, or `openings` come before the findings."""

    headings: Names
    lines: Phrases | None = None
    openings: Phrases | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.lines is None) == (self.openings is None):
            raise ValueError("a section has either lines, or openings where the findings follow")
        return self


class Distractor(Strict):
    """Said with this chance, whatever was found."""

    chance: Chance
    lines: Phrases


def _join(value: Any) -> Any:
    """ ", | ou " as what stands between items and what before the last one."""
    if not isinstance(value, str):
        return value
    between, bar, last = value.partition("|")
    if not bar:
        raise ValueError('a join is two texts with a bar between them, such as ", | e "')
    return between, last


Join = Annotated[tuple[str, str], BeforeValidator(_join)]
Joins = Annotated[tuple[Join, ...], Field(min_length=1)]


class Listings(Strict):
    """Findings at one end or the other, named together: "sem necrose, mitoses ou macronucléolos".

    A preposition before the list may be said before each of its items: "ausência de necrose, de mitoses".

    `denied` and `affirmed` are forms in which <x> stands for the list, and <os> for the ending that agrees
    with it; `findings` are noun phrases for each finding at its last level. They are affirmed where that is
    the level, and denied where it is the first: the same words either way, so that nothing but the form tells
    which.
    """

    chance: Chance  # of a report
    denied: Phrases
    affirmed: Phrases
    denied_joins: Joins
    affirmed_joins: Joins
    findings: dict[str, Phrases]

    @model_validator(mode="after")
    def _forms_hold_a_list(self) -> Self:
        for form in (*self.denied, *self.affirmed):
            if LISTED not in set(form.symbols()):
                raise ValueError(f"each form of denied and affirmed needs <{LISTED}>, where the list stands")
        return self


class Conclusions(Strict):
    """What stands under the conclusion's heading, by category."""

    headings: Names
    categories: dict[str, Phrases]


class Abbreviations(Strict):
    chance: Chance
    words: dict[str, str]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.words, key=len, reverse=True)
        return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b" if self.words else r"(?!)")


class Typos(Strict):
    chance: Chance
    share_of_words: Chance


class Typing(Strict):
    """How a report was typed or dictated: the chance of each habit."""

    abbreviations: Abbreviations
    upper_case: Chance
    no_accents: Chance
    decimal_point: Chance
    typos: Typos
    dictation: Chance = 0.0


class Language(Strict):
    about: str
    once: tuple[str, ...] = ()
    symbols: dict[str, Phrases]
    sections: dict[str, Section]
    layouts: Annotated[tuple[Names, ...], Field(min_length=1)]
    joints: Annotated[tuple[Joint, ...], Field(min_length=1)]
    distractors: dict[str, Distractor] = Field(default_factory=dict)
    findings: dict[str, dict[str, Phrases]]
    listings: Listings | None = None
    conclusion: Conclusions
    typing: Typing
