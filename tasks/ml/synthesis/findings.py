"""From measurements to a report: percentiles, levels with an observer's noise, clauses, sections.

The writer is never told a label. Findings that were not measured are drawn from the severity of the
measured ones, so that they too know no more than the measurements do.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from numpy.random import Generator as Rng

from tasks.ml.errors import UnfitData
from tasks.ml.synthesis.grammar import Finding, Grammar, Section
from tasks.ml.synthesis.phrases import Speaker, happens, pick, stray
from tasks.ml.synthesis.typist import typed

MENTIONED_MIN = 4  # a report on fewer findings than this is none

_JOINTS = ("sentences", "sentences", "semicolons", "commas", "list")


class FindingsWriter:
    """Writes reports on rows like those it was fitted on; `train` is (rows, columns), unscaled."""

    def __init__(self, grammar: Grammar, columns: Sequence[str], train: Sequence[Sequence[float]]) -> None:
        if not train:
            raise UnfitData("no rows to fit percentiles on; lower reserved_share")
        self._grammar = grammar
        self._sorted = [sorted(values) for values in zip(*train, strict=True)]
        place = {name: number for number, name in enumerate(columns)}
        self._measured = {
            name: tuple(place[column] for column in finding.columns)
            for name, finding in grammar.findings.items()
            if not finding.unmeasured
        }

    def write(self, measurements: Sequence[float], rng: Rng, *, conclude: bool) -> str:
        """One report. `conclude` adds the category that an observer of this severity would give."""
        grammar = self._grammar
        speaker = Speaker(grammar.symbols, grammar.once, rng)
        atypia = self.atypia(measurements)
        severity = self.severity(atypia)
        levels = {
            name: _level(atypia.get(name, severity) + stray(rng, finding.noise), grammar.cuts)
            for name, finding in grammar.findings.items()
        }
        sections = [
            (pick(rng, grammar.sections[name].headings), self._body(name, levels, speaker, rng))
            for name in pick(rng, grammar.layouts)
        ]
        if conclude:
            sections.append(self._conclusion(severity, speaker, rng))
        return typed(_tidy(_laid_out(sections, rng)), grammar.typing, rng)

    def atypia(self, measurements: Sequence[float]) -> dict[str, float]:
        """How atypical each measured finding is: the mean percentile of its columns, 0 to 1."""
        percentiles = [
            bisect_right(column, value) / len(column)
            for column, value in zip(self._sorted, measurements, strict=True)
        ]
        return {
            name: sum(percentiles[column] for column in columns) / len(columns)
            for name, columns in self._measured.items()
        }

    def severity(self, atypia: dict[str, float]) -> float:
        """The weighted mean of the measured findings, 0 to 1."""
        weights = {name: self._grammar.findings[name].weight for name in atypia}
        return sum(atypia[name] * weight for name, weight in weights.items()) / sum(weights.values())

    def _body(self, name: str, levels: dict[str, int], speaker: Speaker, rng: Rng) -> str:
        section: Section = self._grammar.sections[name]
        if section.lines is not None:
            body = _sentence(speaker.say_one(section.lines))
        else:
            opening = _sentence(speaker.say_one(section.openings or ()))
            body = f"{opening} {self._findings(levels, speaker, rng)}".strip()
        distractor = self._grammar.distractors.get(name)
        if distractor is not None and happens(rng, distractor.chance):
            # after a list it starts a line of its own
            body += ("\n" if "\n" in body else " ") + _sentence(speaker.say_one(distractor.lines))
        return body

    def _findings(self, levels: dict[str, int], speaker: Speaker, rng: Rng) -> str:
        clauses = [
            speaker.say_one(finding.levels[levels[name]]).strip()
            for name, finding in _mentioned(self._grammar.findings, rng)
        ]
        joint = pick(rng, _JOINTS)
        if joint == "list":
            return "\n" + "\n".join(f"- {clause}" for clause in clauses)
        if joint == "sentences":
            return " ".join(_sentence(clause) + "." for clause in clauses)
        return _sentence(("; " if joint == "semicolons" else ", ").join(clauses)) + "."

    def _conclusion(self, severity: float, speaker: Speaker, rng: Rng) -> tuple[str, str]:
        rule = self._grammar.conclusion
        category = 1 + _level(severity + stray(rng, rule.noise), rule.cuts)
        if happens(rng, rule.insufficient_chance * (1 - severity) ** 2):
            category = 0
        return pick(rng, rule.headings), _sentence(speaker.say_one(rule.categories[category]))


def _mentioned(findings: dict[str, Finding], rng: Rng) -> list[tuple[str, Finding]]:
    """What this observer writes down, in the order of the grammar or, in half of the reports, any."""
    # how far each finding is from being left out: at least MENTIONED_MIN stay, the surest first
    margins = sorted((rng.random() - finding.mention, name) for name, finding in findings.items())
    kept = {name for rank, (margin, name) in enumerate(margins) if margin < 0 or rank < MENTIONED_MIN}
    chosen = [(name, finding) for name, finding in findings.items() if name in kept]
    if happens(rng, 0.5):
        chosen = [one for _, one in sorted((rng.random(), one) for one in chosen)]
    return chosen


def _level(value: float, cuts: Sequence[float]) -> int:
    return bisect_right(cuts, value)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tidy(text: str) -> str:
    """Without the blanks that phrases leave behind where a choice came out empty."""
    return re.sub(r" +(?=[.;,\n])", "", re.sub(r" {2,}", " ", text)).strip()


def _laid_out(sections: Sequence[tuple[str, str]], rng: Rng) -> str:
    """Headings and bodies as one text: headings in capitals or not, on a line of their own or not."""
    capitals = happens(rng, 0.5)
    after_heading = "\n" if happens(rng, 0.35) else ": "
    between = pick(rng, ("\n", "\n", "\n\n"))
    return between.join(
        f"{heading.upper() if capitals else heading}{after_heading}{body}" for heading, body in sections
    )
