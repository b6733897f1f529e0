"""Able to say "I don't know": class-conditional split conformal sets.

For each label, the calibration split tells how improbable the model may find a report's own label; a label
stays possible for a new report while it is no more improbable than that. If exactly one stays possible and
it is the most probable one, the report is decided; otherwise a person looks at it. Of the reports that
truly are label k, at most the chosen share then gets a sure answer that is wrong, whatever the model, as
long as new reports are like the calibration ones.

Sources: Vovk 2012, "Conditional validity of inductive conformal predictors"; Sadinle, Lei & Wasserman
2019, "Least ambiguous set-valued classifiers with bounded error levels" (JASA 114:223).

Several reports of one patient are not independent: the promise then holds on average over patients, but
with the certainty of fewer cases than there are reports (Dunn, Wasserman & Ramdas 2022, JASA 118:2491).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from tasks.ml.arrays import Bools, Floats
from tasks.ml.errors import UnfitData

Decision = Literal["auto", "review"]


@dataclass(frozen=True)
class Thresholds:
    """Per label, in the order of the classifier's labels.

    limits: the largest 1 - probability at which a label stays possible, infinite where the calibration
    reports are too few to promise anything; reports: how many stood behind it; errors: the share promised.
    """

    limits: tuple[float, ...]
    reports: tuple[int, ...]
    errors: tuple[float, ...]

    def explain(self, labels: Sequence[str]) -> list[str]:
        """One sentence a label."""
        return [_sentence(*row) for row in zip(labels, self.limits, self.reports, self.errors, strict=True)]

    def unpromised(self, labels: Sequence[str]) -> list[str]:
        """One sentence a label of which nothing is promised; one such leaves no report a sure answer."""
        return [
            told for told, limit in zip(self.explain(labels), self.limits, strict=True) if math.isinf(limit)
        ]

    def as_json(self) -> dict[str, list[Any]]:
        """For laudos.json; an infinite limit is null, for JSON has no infinity."""
        limits = [None if math.isinf(limit) else limit for limit in self.limits]
        return {"limits": limits, "reports": list(self.reports), "errors": list(self.errors)}

    @classmethod
    def from_json(cls, content: Mapping[str, Sequence[Any]]) -> Thresholds:
        limits = tuple(math.inf if limit is None else float(limit) for limit in content["limits"])
        return cls(limits, tuple(content["reports"]), tuple(content["errors"]))


def fit_thresholds(probabilities: ArrayLike, labels_idx: ArrayLike, errors: Sequence[float]) -> Thresholds:
    """Thresholds from the calibration split.

    probabilities: (reports, labels); labels_idx: (reports,) true label; errors: (labels,) the share of each
    label's reports that may get a wrong sure answer. Raises UnfitData where shapes or shares do not fit.
    """
    probs, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels_idx)
    if probs.shape != (len(truth), len(errors)):
        raise UnfitData(f"probabilities {probs.shape} do not fit {len(truth)} reports x {len(errors)} labels")
    if not all(0 < error < 1 for error in errors):
        raise UnfitData("an error share must lie between 0 and 1")
    improbability = [1 - probs[truth == label, label] for label in range(len(errors))]
    limits = tuple(_limit(scores, error) for scores, error in zip(improbability, errors, strict=True))
    return Thresholds(limits, tuple(map(len, improbability)), tuple(errors))


def prediction_sets(probabilities: ArrayLike, thresholds: Thresholds) -> Bools:
    """(reports, labels): which labels stay possible."""
    return np.asarray(1 - np.asarray(probabilities, dtype=np.float64) <= np.asarray(thresholds.limits))


def decide(probabilities: ArrayLike, thresholds: Thresholds) -> list[Decision]:
    """`auto` where the most probable label is the only possible one, else `review`."""
    probs = np.asarray(probabilities, dtype=np.float64)
    possible = prediction_sets(probs, thresholds)
    top = possible[np.arange(len(probs)), np.argmax(probs, axis=1)]
    sure = top & (possible.sum(axis=1) == 1)
    return ["auto" if is_sure else "review" for is_sure in sure]


def reports_needed(error: float) -> int:
    """The fewest calibration reports of a label with which `error` can be promised at all."""
    return math.ceil(round(1 / error - 1, 9))


def _limit(scores: Floats, error: float) -> float:
    """The ceil((n + 1)(1 - error))-th smallest of n scores: the + 1 is the new report itself."""
    # rounded first: (19 + 1) * (1 - 0.05) must not become 19.000000000000004 and then 20
    rank = math.ceil(round((len(scores) + 1) * (1 - error), 9))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def _sentence(label: str, limit: float, reports: int, error: float) -> str:
    if math.isinf(limit):
        return (
            f"{label}: {reports} calibration reports are too few to promise {error:.1%} wrong sure answers "
            f"({reports_needed(error)} are needed), so it stays possible for every report"
        )
    return (
        f"{label}: stays possible while its probability is at least {max(0.0, 1 - limit):.3f}; at most "
        f"{error:.1%} of its reports get a wrong sure answer (from {reports} calibration reports)"
    )
