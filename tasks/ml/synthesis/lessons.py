"""Lessons: single clauses, each with the finding it states and the level it states it at.

A network from scratch that is only told what became of a patient learns slowly what the words say: one bit a
report. A lesson tells it directly, in a dozen words. No row of measurements, no patient and no label of a
classifier takes part: a lesson is a line of the language files, so nothing can leak through it.

The idea of training on a labelled task in between: Phang, Févry & Bowman 2018, "Sentence Encoders on STILTs"
(arXiv:1811.01088).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.ml.synthesis.chance import Rng, Stream, happens, integer, pick, shuffled
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.language import Listings
from tasks.ml.synthesis.medicine import Exam
from tasks.ml.synthesis.narrator import Narrator
from tasks.ml.synthesis.observer import Observation, coded_columns
from tasks.ml.synthesis.phrases import Speaker
from tasks.ml.synthesis.typist import typed
from tasks.ml.synthesis.wording import EVERYTHING, Wording
from tasks.ml.synthesis.writer import joined, tidy

LISTED_SHARE = 0.25  # of the lessons
LISTED_MAX = 5  # findings denied, or affirmed, in one breath
LISTS = ("listed=denied", "listed=affirmed")


@dataclass(frozen=True)
class Lesson:
    """`says` is a number into `statements(exam)`."""

    text: str
    says: int


def statements(exam: str) -> tuple[str, ...]:
    """What a lesson can say: finding=level, in the order of the exam's files; then, where they hold lists:
    several findings are not there, or are there in the highest degree."""
    grammar = generator(exam).grammar
    lists = LISTS if any(language.listings for language in grammar.languages.values()) else ()
    return (*coded_columns(grammar.exam), *lists)


def lessons(exam: str, *, count: int, seed: int, wording: Wording = EVERYTHING) -> Iterator[Lesson]:
    """At most `count` lessons, the same from the same seed: every level of every finding, every institution.

    Fewer where `wording` leaves a level no clause in an institution's language.
    """
    grammar = generator(exam).grammar
    voices = [
        (language, Narrator(grammar.exam, language, wording)) for language in wording.of(grammar.languages)
    ]
    for number in range(count):
        rng = Stream(exam, "lesson", seed, number)
        language, narrator = pick(rng, voices)
        speaker = Speaker(language.symbols, language.once, rng)
        if language.listings is not None and happens(rng, LISTED_SHARE):
            says, clauses = _several(grammar.exam, language.listings, narrator, speaker, rng)
        else:
            says, clauses = _one(grammar.exam, narrator, speaker, rng)
        if clauses:
            text = joined(clauses, pick(rng, language.joints))
            yield Lesson(typed(tidy(text), language.typing, rng), says)


def _one(exam: Exam, narrator: Narrator, speaker: Speaker, rng: Rng) -> tuple[int, list[str]]:
    cells = [(name, level) for name, finding in exam.findings.items() for level in range(len(finding.levels))]
    says = pick(rng, range(len(cells)))
    name, level = cells[says]
    return says, narrator.said_of([name], Observation({name: level}, category=0), speaker, rng)


def _several(
    exam: Exam, listings: Listings, narrator: Narrator, speaker: Speaker, rng: Rng
) -> tuple[int, list[str]]:
    denied = happens(rng, 0.5)
    names = shuffled(rng, list(listings.findings))[: integer(rng, 2, LISTED_MAX)]
    levels = {name: 0 if denied else len(exam.findings[name].levels) - 1 for name in names}
    says = len(coded_columns(exam)) + (0 if denied else 1)
    return says, narrator.listed(names, Observation(levels, category=0), speaker, rng)
