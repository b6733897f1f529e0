"""An exam's grammar: its medicine in exam.yaml, and beside it one file for the language of each institution.

A physician can add a phrase or a whole institution; every error is told with its file and line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.ml.checked_yaml import BadFile, CheckedFile, Place
from tasks.ml.synthesis.language import AGREES, LISTED, Language
from tasks.ml.synthesis.medicine import Exam
from tasks.ml.synthesis.phrases import SYMBOL, Phrase

EXAM_FILE = "exam.yaml"
_NOUNS: Place = ("listings", "findings")
_FORMS = (("listings", "denied"), ("listings", "affirmed"))
_NEVER_BLANK = ("findings", "conclusion")
WORDINGS_MAX = 100_000  # of one phrase: all of them are held at once where they are counted or audited


@dataclass(frozen=True)
class Clause:
    """One phrase for a level of a finding, and the line of its file."""

    finding: str
    level: str
    phrase: Phrase
    line: int


@dataclass(frozen=True)
class Grammar:
    """`languages` by institution, in the order of their names.

    `clauses` are the findings' phrases, `listing_lines` where an institution's listings stand in its file.
    """

    exam: Exam
    languages: Mapping[str, Language]
    clauses: Mapping[str, tuple[Clause, ...]]
    listing_lines: Mapping[str, int]


def load(folder: Path, columns: Collection[str]) -> Grammar:
    """The grammar in `folder`, whose findings may name these columns of measurements.

    Raises BadFile, which names the line, for YAML that cannot be read, a key given twice or unknown,
    a phrase whose brackets do not match, and any name that nothing answers to or that is missing. Files whose
    names begin with a dot are an editor's or a system's, and left alone.
    """
    exam_file = CheckedFile(folder / EXAM_FILE, Exam)
    _check_exam(exam_file, columns)
    beside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in beside:
        if path.suffix == ".yml":
            raise BadFile(f"{path.name}: an institution's file ends in .yaml; rename it")
    paths = [path for path in beside if path.suffix == ".yaml" and path.name != EXAM_FILE]
    if not paths:
        raise BadFile(f"{folder.name} holds no institution's language beside {EXAM_FILE}")
    files = {path.stem: CheckedFile(path, Language) for path in paths}
    for file in files.values():
        _check_language(file, exam_file.content)
    return Grammar(
        exam_file.content,
        {name: file.content for name, file in files.items()},
        {name: tuple(_clauses(file)) for name, file in files.items()},
        {name: file.line(("listings",)) for name, file in files.items() if file.content.listings},
    )


def _check_exam(file: CheckedFile[Exam], columns: Collection[str]) -> None:
    findings, cuts = file.content.findings, file.content.cuts
    for name, finding in findings.items():
        if not finding.coded and len(finding.levels) != len(cuts) + 1:
            found = f"{name} has {len(finding.levels)} levels; {len(cuts)} cuts make {len(cuts) + 1}"
            raise file.complaint(("findings", name, "levels"), found)
        if (
            finding.columns
            and len(file.content.conclusion.categories) != len(file.content.conclusion.cuts) + 2
        ):
            what = "where findings are measured, two categories are wanted and one cut for each more"
            raise file.complaint(("conclusion",), what)
        if finding.unmeasured and not any(one.weight for one in findings.values()):
            what = f"{name} is unmeasured: at least one measured finding must have a weight"
            raise file.complaint(("findings", name), what)
        for position, column in enumerate(finding.columns):
            file.refuse_unknown(("findings", name, "from", position), column, columns)
        for position, level in enumerate(finding.always):
            file.refuse_unknown(("findings", name, "always", position), level, finding.levels)
        for other, levels in finding.only_with.items():
            place: Place = ("findings", name, "only_with", other)
            file.refuse_unknown(place, other, findings)
            for position, level in enumerate(levels):
                file.refuse_unknown((*place, position), level, findings[other].levels)


def _check_language(file: CheckedFile[Language], exam: Exam) -> None:
    """Every name must be known, and nothing the exam can find may lack words."""
    language = file.content
    for name in language.symbols:
        if not SYMBOL.fullmatch(name) or name in (LISTED, AGREES):
            what = f"a symbol's name is made of a to z and _, and neither {LISTED} nor {AGREES}"
            raise file.complaint(("symbols", name), what)
    for number, layout in enumerate(language.layouts):
        for position, section in enumerate(layout):
            file.refuse_unknown(("layouts", number, position), section, language.sections)
        if sum(language.sections[section].openings is not None for section in layout) != 1:
            what = "a layout needs one section with openings, where the findings stand, and no second"
            raise file.complaint(("layouts", number), what)
    for section in language.distractors:
        file.refuse_unknown(("distractors", section), section, language.sections)
    for position, symbol in enumerate(language.once):
        file.refuse_unknown(("once", position), symbol, language.symbols)
    _same_names(file, ("findings",), language.findings, exam.findings)
    for name, finding in exam.findings.items():
        _same_names(file, ("findings", name), language.findings[name], finding.levels)
    categories = language.conclusion.categories
    _same_names(file, ("conclusion", "categories"), categories, exam.conclusion.categories)
    if language.listings is not None:
        for name in language.listings.findings:
            file.refuse_unknown(("listings", "findings", name), name, exam.findings)
    for place, phrase in _phrases(language):
        for symbol in phrase.symbols():
            if symbol not in (LISTED, AGREES) or place[:2] not in _FORMS:
                file.refuse_unknown(place, symbol, language.symbols)
    _refuse_circles(file)
    ways = _ways(language.symbols)
    for place, phrase in _phrases(language):
        if phrase.wordings(ways) > WORDINGS_MAX:
            what = f"this can be said in {phrase.wordings(ways):,} ways, and {WORDINGS_MAX:,} are counted and"
            raise file.complaint(
                place, f"{what} audited at most: make fewer choices, or several phrases of it"
            )
        if (place[0] in _NEVER_BLANK or place[:2] == _NOUNS) and phrase.may_be_blank(language.symbols):
            raise file.complaint(place, "this can come out without a word; leave nothing unsaid")
    _refuse_two_levels(file)


def _refuse_two_levels(file: CheckedFile[Language]) -> None:
    """The same words for two levels say neither; a phrase with a number in it may differ by the number."""
    language = file.content
    for name, levels in language.findings.items():
        said: dict[str, str] = {}
        for level, phrases in levels.items():
            for position, phrase in enumerate(phrases):
                for words in phrase.realisations(language.symbols):
                    if "#" not in words and said.setdefault(words, level) != level:
                        what = f"{words!r} is said of {said[words]} as well"
                        raise file.complaint(("findings", name, level, position), what)


def _same_names(
    file: CheckedFile[Language], place: Place, found: Collection[str], asked: Collection[str]
) -> None:
    for name in found:
        file.refuse_unknown((*place, name), name, asked)
    for name in asked:
        if name not in found:
            raise file.complaint(place, f"{name!r} is missing")


def _phrases(language: Language) -> Iterator[tuple[Place, Phrase]]:
    groups: list[tuple[Place, tuple[Phrase, ...]]] = [
        (("symbols", name), phrases) for name, phrases in language.symbols.items()
    ]
    for name, section in language.sections.items():
        groups += [(("sections", name, "lines"), section.lines or ())]
        groups += [(("sections", name, "openings"), section.openings or ())]
    groups += [(("distractors", name, "lines"), one.lines) for name, one in language.distractors.items()]
    groups += [
        (("findings", name, level), said)
        for name, levels in language.findings.items()
        for level, said in levels.items()
    ]
    if language.listings is not None:
        groups += [(("listings", "denied"), language.listings.denied)]
        groups += [(("listings", "affirmed"), language.listings.affirmed)]
        groups += [
            (("listings", "findings", name), said) for name, said in language.listings.findings.items()
        ]
    categories = language.conclusion.categories
    groups += [(("conclusion", "categories", name), said) for name, said in categories.items()]
    for place, phrases in groups:
        for position, phrase in enumerate(phrases):
            yield (*place, position), phrase


def _refuse_circles(file: CheckedFile[Language]) -> None:
    symbols = file.content.symbols
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise file.complaint(("symbols", name), f"it contains itself: {' > '.join((*above, name))}")
        if name not in finished:
            for phrase in symbols[name]:
                for inner in phrase.symbols():
                    visit(inner, (*above, name))
            finished.add(name)

    for name in symbols:
        visit(name, ())


def _ways(symbols: Mapping[str, Sequence[Phrase]]) -> dict[str, int]:
    """How many ways there are to say each symbol, none of which contains itself."""
    ways = {LISTED: 1, AGREES: 1}

    def count(name: str) -> None:
        for inner in {inner for phrase in symbols[name] for inner in phrase.symbols()} - ways.keys():
            count(inner)
        ways[name] = sum(phrase.wordings(ways) for phrase in symbols[name])

    for name in symbols:
        count(name)
    return ways


def _clauses(file: CheckedFile[Language]) -> Iterator[Clause]:
    for finding, levels in file.content.findings.items():
        for level, phrases in levels.items():
            for position, phrase in enumerate(phrases):
                line = file.line(("findings", finding, level, position))
                yield Clause(finding, level, phrase, line)
