"""How much an exam's grammar can say, and what its institutions say alike.

python -m tasks.ml.synthesis.variety paaf
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from tasks.ml.synthesis.agreement import ENDINGS
from tasks.ml.synthesis.grammar import Clause, Grammar
from tasks.ml.synthesis.language import AGREES, LISTED, Language
from tasks.ml.synthesis.phrases import parse

SHARED_WORDS = 4  # so many words in a row that two institutions both use are one phrase, not two

_WORD = re.compile(r"[^\W_]+|#")


@dataclass(frozen=True)
class Cell:
    """What one institution can say at one level of one finding."""

    institution: str
    finding: str
    level: str
    phrases: int
    realisations: int


@dataclass(frozen=True)
class Shared:
    """A run of words in the finding clauses of two institutions; `places` are (institution, line)."""

    words: str
    places: tuple[tuple[str, int], tuple[str, int]]


def cells(grammar: Grammar) -> list[Cell]:
    """Every level of every finding; realisations are distinct, and a number counts once."""
    said: dict[tuple[str, str, str], list[Clause]] = defaultdict(list)
    for institution, clauses in grammar.clauses.items():
        for clause in clauses:
            said[institution, clause.finding, clause.level].append(clause)
    return [
        Cell(
            *cell, len(clauses), len({text for clause in clauses for text in _said(grammar, cell[0], clause)})
        )
        for cell, clauses in said.items()
    ]


def distinct_clauses(grammar: Grammar) -> int:
    """Distinct realisations of finding clauses over all institutions."""
    return len(
        {
            text
            for institution, clauses in grammar.clauses.items()
            for clause in clauses
            for text in _said(grammar, institution, clause)
        }
    )


def shared_phrases(grammar: Grammar, words: int = SHARED_WORDS) -> list[Shared]:
    """Every run of so many words that finding clauses of two institutions share, however expanded."""
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for institution, clauses in grammar.clauses.items():
        for clause in clauses:
            for text in _said(grammar, institution, clause):
                for run in word_runs(text, words):
                    first[run].setdefault(institution, clause.line)
    for institution, line in grammar.listing_lines.items():
        for text in _lists(grammar.languages[institution]):
            for run in word_runs(text, words):
                first[run].setdefault(institution, line)
    return [
        Shared(run, (places[0], places[1]))
        for run, lines in sorted(first.items())
        if len(places := list(lines.items())) > 1
    ]


def word_runs(text: str, words: int) -> Iterator[str]:
    """Every run of `words` words, in small letters and without accents or punctuation."""
    bare = "".join(s for s in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(s))
    found = _WORD.findall(bare)
    for start in range(len(found) - words + 1):
        yield " ".join(found[start : start + words])


def _lists(language: Language) -> Iterator[str]:
    """The noun phrases of the listings and the forms around them, each on its own: a list is many clauses."""
    listings = language.listings
    assert listings is not None
    symbols = {**language.symbols, LISTED: (parse("; "),), AGREES: ENDINGS}
    nouns = chain.from_iterable(listings.findings.values())
    for phrase in chain(nouns, listings.denied, listings.affirmed):
        for said in phrase.realisations(symbols):
            yield from said.split(";")


def _said(grammar: Grammar, institution: str, clause: Clause) -> Iterator[str]:
    yield from clause.phrase.realisations(grammar.languages[institution].symbols)
