"""Exercises: reports on specimens that never were, whose findings do not go together.

In a specimen they do: where nuclei are large, chromatin is coarse and cells lie apart. A network that reads
such reports alone need not read every finding, least of all what a list denies: the rest of the report tells.
So the findings of two training specimens are mixed, and the label is drawn from what the findings that were
written down are worth together. After Kaushik, Hovy & Lipton 2020, "Learning the Difference that Makes a
Difference with Counterfactually-Augmented Data" (ICLR), with a grammar in place of people who rewrite.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.ml.synthesis.chance import Stream, happens, pick
from tasks.ml.synthesis.exams import Row, generator
from tasks.ml.synthesis.medicine import Exam
from tasks.ml.synthesis.observer import Observation
from tasks.ml.synthesis.wording import EVERYTHING, Wording
from tasks.ml.synthesis.writer import ReportWriter

READINGS = 10  # of each training specimen, to learn what findings are worth
BRIEF_SHARE = 0.5  # of the exercises: few findings, so that one alone decides

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Exercise:
    text: str
    label: str


def can_be_set(exam: str) -> bool:
    """Whether any levels of its findings can stand together: not where a level says what kind a thing is."""
    findings = generator(exam).grammar.exam.findings.values()
    return not any(finding.coded or finding.only_with for finding in findings)


def exercises(
    exam: str, *, count: int, seed: int, rows: Sequence[Row], wording: Wording = EVERYTHING
) -> Iterator[Exercise]:
    """`count` of them, the same from the same seed; give training rows only, with their labels."""
    writer = generator(exam).fit(rows, wording)
    assert isinstance(writer, ReportWriter)
    worth = _Worth(generator(exam).grammar.exam, writer, rows, seed)
    for number in range(count):
        rng = Stream(exam, "exercise", seed, number)
        one, other = (writer.observe(pick(rng, rows).measurements, rng) for _ in range(2))
        levels = {name: (one if happens(rng, 0.5) else other).levels[name] for name in one.levels}
        told = writer.told(Observation(levels, one.category), rng, brief=happens(rng, BRIEF_SHARE))
        yield Exercise(told.text, worth.drawn(levels, told.mentioned, rng.random()))


class _Worth:
    """What levels say of the label: logistic regression on those that a report mentions, of training rows.

    Findings that are not mentioned count as neither: reports with few findings teach what each is worth
    alone.
    """

    def __init__(self, exam: Exam, writer: ReportWriter, rows: Sequence[Row], seed: int) -> None:
        from sklearn.linear_model import LogisticRegression  # half a second to import

        self._middles = {name: (len(finding.levels) - 1) / 2 for name, finding in exam.findings.items()}
        read, labels = [], []
        for row in rows:
            for number in range(READINGS):
                rng = Stream("worth", seed, row.key, number)
                observed = writer.observe(row.measurements, rng)
                read.append(self._columns(observed.levels, writer.mentioned(observed, rng)))
                labels.append(row.label)
        self._model = LogisticRegression(max_iter=1000).fit(np.array(read), labels)

    def drawn(self, levels: Mapping[str, int], mentioned: Collection[str], chance: float) -> str:
        """The label that this number in [0, 1) stands for, among labels as probable as these findings say."""
        shares = self._model.predict_proba([self._columns(levels, mentioned)])[0].cumsum()
        return str(self._model.classes_[min(int(np.searchsorted(shares, chance, "right")), len(shares) - 1)])

    def _columns(self, levels: Mapping[str, int], mentioned: Collection[str]) -> list[float]:
        told = frozenset(mentioned)
        return [levels[name] - middle if name in told else 0.0 for name, middle in self._middles.items()]
