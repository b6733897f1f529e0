"""What an exam's grammar can say: counted, and read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from db.errors import ConfigurationError
from tasks.ml.synthesis.exams import exams, generator
from tasks.ml.synthesis.grammar import Grammar
from tasks.ml.synthesis.phrases import Phrase
from tasks.ml.synthesis.reports import synthesize
from tasks.ml.synthesis.variety import Shared, cells, distinct_clauses, shared_phrases
from tasks.ml.synthesis.wording import Wording


@dataclass(frozen=True)
class InstitutionCounted:
    """`thinnest` is the level of a finding that the fewest phrases say."""

    institution: str
    about: str
    phrases: int
    realisations: int
    thinnest: str
    thinnest_phrases: int


@dataclass(frozen=True)
class ExamCounted:
    """`clauses` are distinct over all institutions; `shared` are runs of four words that two of them say."""

    exam: str
    clauses: int
    institutions: tuple[InstitutionCounted, ...]
    shared: tuple[Shared, ...]


@dataclass(frozen=True)
class Said:
    """What one institution says at one level of a finding, by phrase."""

    institution: str
    level: str
    line: int
    wordings: tuple[str, ...]


def count_words(exam: str | None) -> list[ExamCounted]:
    """Of one exam, or of all there are."""
    return [_counted(name, generator(name).grammar) for name in ([exam] if exam else exams())]


def reports_of(exam: str, institution: str | None, reports: int, seed: int) -> list[str]:
    """Whole reports on the exam's first rows. Raises ConfigurationError for an unknown institution."""
    _known("institution", institution, generator(exam).grammar.languages)
    wording = Wording(institutions=(institution,) if institution else None)
    made = synthesize(exam, mode="findings", reports_per_row=1, seed=seed, wording=wording)
    return [report.text for report in islice(made, reports)]


def wordings_of(exam: str, institution: str | None, finding: str, level: str | None, most: int) -> list[Said]:
    """Every phrase of a finding, up to `most` wordings each. Raises ConfigurationError for unknown names."""
    grammar = generator(exam).grammar
    _known("institution", institution, grammar.languages)
    _known("finding", finding, grammar.exam.findings)
    _known("level", level, grammar.exam.findings[finding].levels)
    return [
        Said(name, clause.level, clause.line, tuple(islice(_wordings(grammar, name, clause.phrase), most)))
        for name, clauses in grammar.clauses.items()
        for clause in clauses
        if clause.finding == finding and level in (None, clause.level) and institution in (None, name)
    ]


def _counted(exam: str, grammar: Grammar) -> ExamCounted:
    of = defaultdict(list)
    for cell in cells(grammar):
        of[cell.institution].append(cell)
    institutions = []
    for name, found in of.items():
        thin = min(found, key=lambda cell: (cell.phrases, cell.realisations))
        institutions.append(
            InstitutionCounted(
                name,
                grammar.languages[name].about,
                sum(cell.phrases for cell in found),
                sum(cell.realisations for cell in found),
                f"{thin.finding} {thin.level}",
                thin.phrases,
            )
        )
    return ExamCounted(exam, distinct_clauses(grammar), tuple(institutions), tuple(shared_phrases(grammar)))


def _wordings(grammar: Grammar, institution: str, phrase: Phrase) -> Iterator[str]:
    yield from dict.fromkeys(phrase.realisations(grammar.languages[institution].symbols))


def _known(what: str, name: str | None, known: Collection[str]) -> None:
    if name is not None and name not in known:
        raise ConfigurationError(f"there is no {what} {name!r}; there is {', '.join(known)}")
