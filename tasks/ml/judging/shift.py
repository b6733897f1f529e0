"""Whether a night's reports, taken together, are still like those that the promise was calibrated on.

`network/conformal.py` promises a miss rate "as long as new reports are like the calibration ones". Each
report of a night may look familiar and the night still be another population: another institution's way of
writing, another kind of case. A classifier two-sample test tells (Friedman 2003, "On multivariate goodness of
fit and two-sample testing"; Lopez-Paz & Oquab 2017, "Revisiting classifier two-sample tests"): one half of
both sides teaches a logistic regression to tell night from calibration, the other half is ranked by it. Of
alike populations no ranking is better than chance, whatever was learnt, for a half is judged by what the
other half taught. Both halves are judged, and the smaller of the two p-values counts twice (Bonferroni).

A trained network's vectors hold what its labels need and forget how a report is worded. So the share of word
pairs that no training report held (`network/familiarity.py`) is ranked beside them, with nothing to be learnt
and no half to be spared; of the two tests the smaller p-value counts, twice again.

Another mix of labels breaks no promise that is made of each label, so it must not ring: the night's mix is
estimated from its probabilities (Saerens, Latinne & Decaestecker 2002, "Adjusting the outputs of a classifier
to new a priori probabilities", Neural Computation 14:21) and the calibration reports are weighted to it.

What the test does not see is not disproven: a drift of the truth behind reports that read the same leaves no
trace in them, and few reports show large differences only.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from sklearn.linear_model import LogisticRegression

from tasks.ml.arrays import Bools, Floats, Ints

PATIENTS_MIN = 40  # on either side: fewer tell populations apart only where nobody would ask
PATIENTS_MAX = 500  # on either side: more would find differences too small to break a promise
STRENGTH = (
    0.1  # C of the logistic regression on standardised columns: of .001 to 1 what saw most, on two tasks
)
MIX_ROUNDS = 200  # of expectation and maximisation: it stands still long before
RARE = 1e-3  # no label's share of the night is taken to be less

By = Literal["vectors", "words"]


@dataclass(frozen=True, eq=False)
class Population:
    """One report of each patient. `unknown`: its share of word pairs that no training report held."""

    vectors: Floats  # (patients, hidden)
    probabilities: Floats  # (patients, labels)
    unknown: Floats | None = None  # (patients,)


@dataclass(frozen=True)
class Compared:
    """auroc: how well night and calibration are told apart `by` what tells best, 0.5 being not at all;
    p_value: how often alike populations would seem as different as these."""

    by: By
    auroc: float
    p_value: float


def compare(calibration: Population, truth: Ints, night: Population, seed: int) -> Compared:
    """The night beside the calibration reports, whose labels' numbers are `truth`; the same every time."""
    labels = calibration.probabilities.shape[1]
    shares = np.bincount(truth, minlength=labels) / len(truth)
    mix = label_mix(night.probabilities, shares)
    weights = np.divide(mix, shares, out=np.zeros(labels), where=shares > 0)[truth]
    tests: dict[By, tuple[float, float]] = {"vectors": _learnt(calibration, truth, night, weights, seed)}
    if calibration.unknown is not None and night.unknown is not None:
        tests["words"] = _ranked(calibration.unknown, night.unknown, weights)
    by = min(tests, key=lambda name: tests[name][1])
    auroc, p_value = tests[by]
    return Compared(by, auroc, min(1.0, len(tests) * p_value))


def rings_from(by: By, calibration_patients: int, patients: int, level: float) -> float:
    """The AUROC from which so many patients ring, where labels need no weights; less is not seen."""
    halves = 2 if by == "vectors" else 1
    spread = np.sqrt(halves * (1 / calibration_patients + 1 / patients) / 12)
    return float(min(1.0, 0.5 - NormalDist().inv_cdf(level / halves / 2) * spread))


def label_mix(probabilities: Floats, shares: Floats) -> Floats:
    """(labels,) the shares of labels that explain a night's probabilities best.

    shares: (labels,) those of the calibration reports; a label that has none there is given none.
    """
    mix = shares.copy()
    for _ in range(MIX_ROUNDS):
        ratio = np.divide(mix, shares, out=np.zeros_like(mix), where=shares > 0)
        weighed = probabilities * ratio
        mix = (weighed / np.maximum(weighed.sum(axis=1, keepdims=True), 1e-300)).mean(axis=0)
    mix = np.where(shares > 0, np.maximum(mix, RARE), 0.0)
    return np.asarray(mix / mix.sum())


def _learnt(
    calibration: Population, truth: Ints, night: Population, weights: Floats, seed: int
) -> tuple[float, float]:
    """AUROC and p-value by vectors: each half ranked by what the other half taught."""
    rng = np.random.default_rng(seed)
    known, asked = _halved(len(truth), truth, rng), _halved(len(night.vectors), None, rng)
    judged = []
    for half in (False, True):
        taught = (calibration.vectors[known == half], weights[known == half], night.vectors[asked == half])
        direction = _direction(*taught)
        ranks = calibration.vectors[known != half] @ direction, night.vectors[asked != half] @ direction
        judged.append(_ranked(*ranks, weights[known != half]))
    return float(np.mean([auroc for auroc, _ in judged])), min(1.0, 2 * min(p for _, p in judged))


def _halved(count: int, truth: Ints | None, rng: np.random.Generator) -> Bools:
    """(count,) which half each belongs to; of each label about as many in both."""
    order = rng.permutation(count)
    if truth is not None:
        order = order[np.argsort(truth[order], kind="stable")]
    half = np.zeros(count, np.bool_)
    half[order[1::2]] = True
    return half


def _direction(calibration: Floats, weights: Floats, night: Floats) -> Floats:
    """(columns,) along which a row looks the more like the night's; each side counts as much as the other."""
    rows = np.vstack([calibration, night])
    sample = np.concatenate([weights / weights.sum(), np.full(len(night), 1 / len(night))]) * len(rows) / 2
    mean = np.average(rows, axis=0, weights=sample)
    spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=sample))
    spread = np.where(spread > 1e-8, spread, 1.0)
    side = np.repeat([0, 1], [len(calibration), len(night)])
    model = LogisticRegression(C=STRENGTH, max_iter=200).fit(
        (rows - mean) / spread, side, sample_weight=sample
    )
    return np.asarray(model.coef_[0] / spread)


def _ranked(calibration: Floats, night: Floats, weights: Floats) -> tuple[float, float]:
    """The weighted AUROC of the night's ranks, and how often chance gives as large a one (one-sided).

    The variance is the larger of two: what alike populations have (Mann & Whitney 1947, weights counted as
    the reports that they are worth) and DeLong's of what was found (DeLong, DeLong & Clarke-Pearson 1988).
    """
    share = weights / weights.sum()
    above = (night[:, None] > calibration) + 0.5 * (night[:, None] == calibration)  # (night, calibration)
    of_night, of_calibration = above @ share, above.mean(axis=0)
    auroc = float(of_night.mean())
    worth = 1 / float((share**2).sum())
    by_chance = (1 / worth + 1 / len(night)) / 12
    found = float((share**2 * (of_calibration - auroc) ** 2).sum() + of_night.var(ddof=1) / len(night))
    z = (auroc - 0.5) / np.sqrt(max(by_chance, found))
    return auroc, NormalDist().cdf(-float(z))
