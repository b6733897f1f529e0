"""The language of an exam: a YAML file a physician can edit, checked line by line when it is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tasks.ml.errors import MlError
from tasks.ml.synthesis.phrases import Phrase, parse

LEVELS = 4  # of every finding, from the most bland to the most atypical

Place = tuple[str | int, ...]


class BadGrammar(MlError):
    """The file does not describe a language; the message names file, line and place."""


def _phrase(value: Any) -> Phrase:
    if not isinstance(value, str):
        raise ValueError(f"a phrase is text; put it in quotes (found a {type(value).__name__})")
    return parse(value)


Chance = Annotated[float, Field(ge=0, le=1)]
Said = Annotated[Phrase, BeforeValidator(_phrase)]
Phrases = Annotated[tuple[Said, ...], Field(min_length=1)]
Cuts = Annotated[tuple[Chance, ...], Field(min_length=LEVELS - 1, max_length=LEVELS - 1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Section(_Strict):
    """A part of a report; `lines` make its body, or `openings` come before the findings."""

    headings: Annotated[tuple[str, ...], Field(min_length=1)]
    lines: Phrases | None = None
    openings: Phrases | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Section:
        if (self.lines is None) == (self.openings is None):
            raise ValueError("a section has either lines, or openings where the findings follow")
        return self


class Distractor(_Strict):
    """Said with this chance, whatever the cells look like."""

    chance: Chance
    lines: Phrases


class Finding(_Strict):
    """What an observer says about one aspect, at each level."""

    columns: tuple[str, ...] = Field((), alias="from")
    unmeasured: bool = False
    weight: Annotated[float, Field(ge=0)] = 0.0  # in the severity, which decides unmeasured ones
    noise: Annotated[float, Field(gt=0, le=1)]
    mention: Chance
    levels: Annotated[tuple[Phrases, ...], Field(min_length=LEVELS, max_length=LEVELS)]

    @model_validator(mode="after")
    def _one_origin(self) -> Finding:
        if bool(self.columns) == self.unmeasured:
            raise ValueError("a finding is either measured (from: [columns]) or unmeasured: true")
        if self.unmeasured and self.weight:
            raise ValueError("only measured findings have a weight in the severity")
        return self


class Conclusion(_Strict):
    """Categories: insufficient first, then one a level of severity."""

    headings: Annotated[tuple[str, ...], Field(min_length=1)]
    cuts: Cuts
    noise: Annotated[float, Field(gt=0, le=1)]
    insufficient_chance: Chance
    categories: Annotated[tuple[Phrases, ...], Field(min_length=LEVELS + 1, max_length=LEVELS + 1)]


class Abbreviations(_Strict):
    chance: Chance
    words: dict[str, str]


class Typos(_Strict):
    chance: Chance
    share_of_words: Chance


class Typing(_Strict):
    """How a report was typed: the chance of each habit."""

    abbreviations: Abbreviations
    upper_case: Chance
    no_accents: Chance
    decimal_point: Chance
    typos: Typos


class Grammar(_Strict):
    cuts: Cuts
    once: tuple[str, ...] = ()
    symbols: dict[str, Phrases]
    sections: dict[str, Section]
    layouts: Annotated[tuple[tuple[str, ...], ...], Field(min_length=1)]
    distractors: dict[str, Distractor] = {}
    findings: Annotated[dict[str, Finding], Field(min_length=1)]
    conclusion: Conclusion
    typing: Typing

    @model_validator(mode="after")
    def _has_a_severity(self) -> Grammar:
        if not any(finding.weight for finding in self.findings.values()):
            raise ValueError("at least one measured finding must have a weight")
        return self


def load(path: Path, columns: Iterable[str]) -> Grammar:
    """The grammar in `path`, whose findings may name these columns of measurements.

    Raises BadGrammar, which names the line, for YAML that cannot be read, a key given twice or
    unknown, a phrase whose brackets do not match, and any name that nothing answers to.
    """
    try:
        root = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadGrammar(f"{path.name}, line {line}: {error.problem}") from None
    if root is None:
        raise BadGrammar(f"{path.name} is empty")
    lines: dict[Place, int] = {}
    _note_lines(root, (), lines, path.name)
    try:
        grammar = Grammar.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        raise _complaint(path.name, lines, problem["loc"], _told(problem)) from None
    for place, name, known in _names(grammar, tuple(columns)):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
            raise _complaint(path.name, lines, place, f"nothing is called {name!r}{hint}")
    _refuse_circles(grammar, path.name, lines)
    return grammar


def _note_lines(node: yaml.Node, place: Place, lines: dict[Place, int], file: str) -> None:
    """Where in the file everything stands, for the sake of clear errors."""
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _note_lines(item, (*place, position), lines, file)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            if inner in lines:  # YAML would silently keep the last one
                raise BadGrammar(f"{file}, line {key.start_mark.line + 1}: {key.value!r} is given twice")
            _note_lines(value, inner, lines, file)
            lines[inner] = key.start_mark.line + 1


def _names(grammar: Grammar, columns: tuple[str, ...]) -> Iterable[tuple[Place, str, tuple[str, ...]]]:
    """Every name that must be known: where it stands, itself, and what it may be."""
    sections, symbols = tuple(grammar.sections), tuple(grammar.symbols)
    for number, layout in enumerate(grammar.layouts):
        for position, section in enumerate(layout):
            yield ("layouts", number, position), section, sections
    for section in grammar.distractors:
        yield ("distractors", section), section, sections
    for position, symbol in enumerate(grammar.once):
        yield ("once", position), symbol, symbols
    for name, finding in grammar.findings.items():
        for position, column in enumerate(finding.columns):
            yield ("findings", name, "from", position), column, columns
    for place, phrase in _phrases(grammar):
        for symbol in phrase.symbols():
            yield place, symbol, symbols


def _phrases(grammar: Grammar) -> Iterable[tuple[Place, Phrase]]:
    groups: list[tuple[Place, tuple[Phrase, ...]]] = [
        (("symbols", name), phrases) for name, phrases in grammar.symbols.items()
    ]
    for name, section in grammar.sections.items():
        groups += [(("sections", name, "lines"), section.lines or ())]
        groups += [(("sections", name, "openings"), section.openings or ())]
    groups += [(("distractors", name, "lines"), one.lines) for name, one in grammar.distractors.items()]
    for name, finding in grammar.findings.items():
        groups += [(("findings", name, "levels", level), said) for level, said in enumerate(finding.levels)]
    categories = grammar.conclusion.categories
    groups += [(("conclusion", "categories", number), said) for number, said in enumerate(categories)]
    for place, phrases in groups:
        for position, phrase in enumerate(phrases):
            yield (*place, position), phrase


def _refuse_circles(grammar: Grammar, file: str, lines: Mapping[Place, int]) -> None:
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            way = " > ".join((*above, name))
            raise _complaint(file, lines, ("symbols", name), f"it contains itself: {way}")
        if name not in finished:
            for phrase in grammar.symbols[name]:
                for inner in phrase.symbols():
                    visit(inner, (*above, name))
            finished.add(name)

    for name in grammar.symbols:
        visit(name, ())


def _complaint(file: str, lines: Mapping[Place, int], place: tuple[Any, ...], what: str) -> BadGrammar:
    known = place
    while known not in lines:  # a missing key has no line: name the mapping it is missing from
        known = known[:-1]
    where = ".".join(str(part) for part in place)
    return BadGrammar(f"{file}, line {lines[known]}, {where}: {what}")


def _told(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "unknown key"
    if problem["type"] == "missing":
        return "this is missing"
    return str(problem["msg"]).removeprefix("Value error, ")
