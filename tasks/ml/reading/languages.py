"""Which language a report is written in, for slices of a holdout: told by its small words, or not told.

Function words as language models: Grefenstette 1995, "Comparing two language identification schemes" (JADT).
A report of a few findings in telegraphic style holds hardly any; then nothing is said rather than guessed.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from tasks.ml.checked_yaml import CheckedFile, Strict

MARKS_MIN: Final = 3  # different words that speak for a language and against another
MARKS_SHARE_MIN: Final = 0.05  # of all words: names of drugs and genes hold an "as" or "in" here and there
TIMES_AS_MANY: Final = 2.0  # as speak for the other
ENDED_LETTERS_MIN: Final = 6  # "ion" is no word on -ion

FILE: Final = Path(__file__).with_suffix(".yaml")

_WORD: Final = re.compile(r"[^\W\d_]+")


class Marks(Strict):
    """Of one language: its name, small words and word endings, each in one line."""

    name: str
    words: Annotated[str, Field(min_length=1)]
    endings: Annotated[str, Field(min_length=1)]


class Languages(Strict):
    """Every language that is told, by the names of BCP 47."""

    pt: Marks
    es: Marks
    en: Marks
    fr: Marks
    it: Marks
    de: Marks


def language_of(text: str) -> str | None:
    """Such as "pt"; None where the text is too short, too telegraphic, or of two languages.

    Of each two languages only the words decide that one has and the other has not, each once: an abbreviation
    that looks like one is repeated as often as the organ that it is of.
    """
    words = set(_WORD.findall(_bare(text)))
    marked = {name: {word for word in words if _marks(name, word)} for name in _marks_of()}
    best = max(marked, key=lambda name: len(marked[name]))

    def surely(other: str) -> bool:
        ours, theirs = len(marked[best] - marked[other]), len(marked[other] - marked[best])
        return ours >= max(MARKS_MIN, MARKS_SHARE_MIN * len(words), TIMES_AS_MANY * theirs)

    return best if all(surely(other) for other in marked if other != best) else None


def _marks(name: str, word: str) -> bool:
    words, endings = _marks_of()[name]
    return word in words or (len(word) >= ENDED_LETTERS_MIN and word.endswith(endings))


@cache
def _marks_of() -> dict[str, tuple[frozenset[str], tuple[str, ...]]]:
    """Language -> its small words and its endings."""
    content = CheckedFile(FILE, Languages).content
    given: dict[str, Marks] = {name: getattr(content, name) for name in Languages.model_fields}
    return {
        name: (frozenset(marks.words.split()), tuple(marks.endings.split())) for name, marks in given.items()
    }


def _bare(text: str) -> str:
    """Small letters without accents: reports in capitals often have none."""
    apart = unicodedata.normalize("NFD", text.casefold())
    return "".join(sign for sign in apart if not unicodedata.combining(sign))
