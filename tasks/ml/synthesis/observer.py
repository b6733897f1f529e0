"""From a row's measurements to what an observer sees: a level for each finding, strayed by noise.

An observer is never told a label. Findings that were not measured are drawn from the severity of the
measured ones, so that they too know no more than the measurements do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks.ml.errors import UnfitData
from tasks.ml.synthesis.chance import Rng, happens, stray
from tasks.ml.synthesis.medicine import Conclusion, Exam, Finding


@dataclass(frozen=True)
class Observation:
    """Levels by finding, as numbers into the finding's levels; the category they suggest, likewise."""

    levels: Mapping[str, int]
    category: int


class Observer(Protocol):
    def observe(self, measurements: Sequence[float], rng: Rng) -> Observation:
        """What one observer would see in a specimen measured so."""
        ...


class PercentileObserver:
    """Reads measured findings off the percentiles of the rows it was fitted on.

    `train` is (rows, columns), unscaled. Raises UnfitData where there are no rows.
    """

    def __init__(self, exam: Exam, columns: Sequence[str], train: Sequence[Sequence[float]]) -> None:
        if not train:
            raise UnfitData("no rows to fit percentiles on; lower reserved_share")
        self._exam = exam
        self._sorted = [sorted(values) for values in zip(*train, strict=True)]
        place = {name: number for number, name in enumerate(columns)}
        self._measured = {
            name: tuple(place[column] for column in finding.columns)
            for name, finding in exam.findings.items()
            if finding.columns
        }
        self._weights = {name: exam.findings[name].weight for name in self._measured}

    def observe(self, measurements: Sequence[float], rng: Rng) -> Observation:
        atypia = self.atypia(measurements)
        severity = self.severity(atypia)
        levels = {
            name: bisect_right(self._exam.cuts, atypia.get(name, severity) + stray(rng, finding.noise))
            for name, finding in self._exam.findings.items()
        }
        return Observation(levels, _category(self._exam.conclusion, severity, rng))

    def atypia(self, measurements: Sequence[float]) -> dict[str, float]:
        """How atypical each measured finding is: the mean percentile of its columns, 0 to 1."""
        percentiles = [
            bisect_right(column, value) / len(column)
            for column, value in zip(self._sorted, measurements, strict=True)
        ]
        return {
            name: sum([percentiles[column] for column in columns]) / len(columns)
            for name, columns in self._measured.items()
        }

    def severity(self, atypia: Mapping[str, float]) -> float:
        """The weighted mean of the measured findings, 0 to 1."""
        total = sum(atypia[name] * weight for name, weight in self._weights.items())
        return total / sum(self._weights.values())


def _category(rule: Conclusion, severity: float, rng: Rng) -> int:
    """Drawn whether it is written or not, so that a mode changes no other word of a report."""
    seen = 1 + bisect_right(rule.cuts, severity + stray(rng, rule.noise))
    return 0 if happens(rng, rule.insufficient_chance * (1 - severity) ** 2) else seen


class CodedObserver:
    """Reads levels off a row that holds them (see coded_row), now and then a neighbouring one.

    `category` says which of the exam's categories levels suggest, given by name.
    """

    def __init__(self, exam: Exam, category: Callable[[Mapping[str, str]], int]) -> None:
        self._exam = exam
        self._category = category

    def observe(self, measurements: Sequence[float], rng: Rng) -> Observation:
        levels, start = {}, 0
        for name, finding in self._exam.findings.items():
            coded = measurements[start : start + len(finding.levels)]
            start += len(finding.levels)
            levels[name] = _read(finding, coded.index(max(coded)), rng)
        named = {name: self._exam.findings[name].levels[level] for name, level in levels.items()}
        return Observation(levels, self._category(named))


def coded_columns(exam: Exam) -> tuple[str, ...]:
    """A column for each level of each finding: finding=level."""
    return tuple(f"{name}={level}" for name, finding in exam.findings.items() for level in finding.levels)


def coded_row(exam: Exam, levels: Mapping[str, str]) -> tuple[float, ...]:
    """Measurements that say these levels, in the order of coded_columns: 1 where it is, else 0."""
    return tuple(
        float(levels[name] == level) for name, finding in exam.findings.items() for level in finding.levels
    )


def _read(finding: Finding, level: int, rng: Rng) -> int:
    strayed, step = happens(rng, finding.noise), 1 if happens(rng, 0.5) else -1
    return min(max(level + step, 0), len(finding.levels) - 1) if strayed else level
