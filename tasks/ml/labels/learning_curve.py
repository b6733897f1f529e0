"""How a head gets better with more labels, and what more of them would buy.

The error falls as an inverse power of the number of labelled reports: Figueroa, Zeng-Treitler, Kandula & Ngo
2012, "Predicting sample size required for classification performance", BMC Med Inform Decis Mak 12:8 (on
clinical texts among others). A curve says little far outside of where it was read: see REACH.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import least_squares
from sklearn.metrics import f1_score

from tasks.ml.arrays import Floats, Ints
from tasks.ml.errors import UnfitData
from tasks.ml.network.features import Progress, Vectors
from tasks.ml.network.head import fit_head, probabilities

SHARES: Final = (0.1, 0.2, 0.35, 0.6, 1.0)  # of the training patients
SIZES_MIN: Final = 4  # three numbers are fitted
HELD_MIN: Final = 4  # calibration patients of each label: two choose, and two judge
REACH: Final = 2.0  # times as many reports as were read: no forecast beyond
DRAWS: Final = 200
# exponents seen on text lie below 1 (Hestness et al. 2017, arXiv:1712.00409)
STEEPEST: Final = 2.0


@dataclass(frozen=True, eq=False)
class Curve:
    """Macro F1 of heads taught by growing shares; columns grow, the last one is taught by all."""

    reports: Ints  # (sizes,) mean number of labelled reports that taught
    scores: Floats  # (repeats, sizes) macro F1 on calibration patients that chose nothing


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval over repeats."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Forecast:
    """Macro F1 with more reports, and what they add to that of the fitted curve as it is."""

    score: Estimate
    gain: Estimate
    check_error: float  # measured less foretold, of the largest size out of the smaller ones


def learning_curve(
    taught: tuple[Vectors, Ints, Sequence[str]],
    held: tuple[Vectors, Ints, Sequence[str]],
    n_labels: int,
    *,
    repeats: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> Curve:
    """Heads on growing shares of training patients, in an order drawn anew each repeat.

    `taught`, `held`: vectors, labels and patients of the training and of the calibration split. One half of
    the calibration patients, drawn anew too, gives C and temperature; the other half scores. Raises UnfitData
    where a label has too few patients for SIZES_MIN shares or two halves.
    """
    rng = np.random.default_rng(seed)
    shares = _usable_shares(taught, held, n_labels)
    scores, reports = np.empty((repeats, len(shares))), np.zeros(len(shares))
    for repeat in range(repeats):
        place, half = _places(taught[1], taught[2], rng), _places(held[1], held[2], rng)
        chooses, judges = half < 0.5, half >= 0.5
        for column, share in enumerate(shares):
            drawn = place < share
            head = fit_head(
                taught[0][drawn], taught[1][drawn], n_labels, held[0][chooses], held[1][chooses], seed=seed
            )
            said = probabilities(head, held[0][judges]).argmax(axis=1)
            scores[repeat, column] = f1_score(
                held[1][judges], said, labels=range(n_labels), average="macro", zero_division=0
            )
            reports[column] += drawn.sum() / repeats
            if progress is not None:
                progress(repeat * len(shares) + column + 1, repeats * len(shares))
    return Curve(np.round(reports).astype(np.int64), scores)


def forecast(curve: Curve, more: int, *, seed: int = 0) -> Forecast:
    """What so many more reports would give, of the curve's mean, repeats drawn with replacement.

    Raises UnfitData beyond REACH: `reports_max` says how far a forecast goes.
    """
    now = int(curve.reports[-1])
    if more > reports_max(curve):
        raise UnfitData(
            f"{more:,} more labels on top of {now:,} are beyond what this curve can tell; "
            f"ask for at most {reports_max(curve):,}"
        )
    rng, repeats = np.random.default_rng(seed), len(curve.scores)
    sizes = curve.reports / now
    drawn = [np.arange(repeats), *rng.integers(repeats, size=(DRAWS, repeats))]
    fits = [_fit(sizes, 1 - curve.scores[rows].mean(axis=0)) for rows in drawn]
    later = np.array([1 - _error(fit, 1 + more / now) for fit in fits])
    today = np.array([1 - _error(fit, 1.0) for fit in fits])
    smaller = _fit(sizes[:-1], 1 - curve.scores[:, :-1].mean(axis=0))
    check = float(curve.scores[:, -1].mean() - (1 - _error(smaller, 1.0)))
    return Forecast(_estimate(later), _estimate(later - today), check)


def reports_max(curve: Curve) -> int:
    """How many more reports a forecast may be asked for."""
    return int((REACH - 1) * curve.reports[-1])


def measured(curve: Curve) -> list[Estimate]:
    """Mean score of each size over repeats, and the 2.5th and 97.5th percentile of single repeats."""
    ends = np.quantile(curve.scores, [0.025, 0.975], axis=0)
    means = curve.scores.mean(axis=0)
    return [
        Estimate(float(mean), float(low), float(high)) for mean, low, high in zip(means, *ends, strict=True)
    ]


def _usable_shares(
    taught: tuple[Vectors, Ints, Sequence[str]], held: tuple[Vectors, Ints, Sequence[str]], n_labels: int
) -> list[float]:
    """The shares that hold two patients of every label."""
    fewest = int(np.bincount(_goes_by(*taught[1:])[0], minlength=n_labels).min())
    shares = [share for share in SHARES if share * fewest >= 2]
    fewest_held = int(np.bincount(_goes_by(*held[1:])[0], minlength=n_labels).min())
    if len(shares) < SIZES_MIN or fewest_held < HELD_MIN:
        raise UnfitData(
            f"the label with the fewest patients (who count for the rarest label they bear) has {fewest} "
            f"training and {fewest_held} calibration patients; a learning curve needs "
            f"{int(np.ceil(2 / SHARES[-SIZES_MIN]))} and {HELD_MIN}: label more patients"
        )
    return shares


def _goes_by(labels_idx: Ints, patients: Sequence[str]) -> tuple[Ints, Ints]:
    """(patients,) the label each is drawn by, and (reports,) the patient of each report.

    Of several labels the one that the fewest patients bear: else a label that only ever comes beside a common
    one would be in a share, or in the half that judges, by chance alone.
    """
    of_report = np.unique(np.asarray(patients), return_inverse=True)[1]
    pairs = np.unique(np.stack([of_report, labels_idx], axis=1), axis=0)
    borne_by = np.bincount(pairs[:, 1])
    rarest_first = pairs[np.lexsort((borne_by[pairs[:, 1]], pairs[:, 0]))]
    return rarest_first[np.unique(rarest_first[:, 0], return_index=True)[1], 1], of_report


def _places(labels_idx: Ints, patients: Sequence[str], rng: np.random.Generator) -> Floats:
    """(reports,) places in [0, 1) in an order of chance, one a patient: the reports below s are a share s of
    the patients, and of those that go by each label."""
    bears, of_report = _goes_by(labels_idx, patients)
    place = np.empty(len(bears))
    for label in np.unique(bears):
        ours = rng.permutation(np.flatnonzero(bears == label))
        place[ours] = (np.arange(len(ours)) + 0.5) / len(ours)
    return place[of_report]


def _fit(sizes: Floats, errors: Floats) -> Floats:
    """(floor, scale, exponent) of the inverse power law with the least squares; sizes relative to all."""
    lowest = max(float(errors.min()), 0.0)
    start = np.array([lowest / 2, max(float(errors[-1]) - lowest / 2, 1e-3), 0.5])
    found = least_squares(
        lambda law: _error(law, sizes) - errors, start, bounds=([0.0, 0.0, 0.0], [1.0, 1.0, STEEPEST])
    )
    law: Floats = found.x
    return law


def _error(law: Floats, sizes: Floats | float) -> Floats:
    floor, scale, exponent = law
    error: Floats = floor + scale * np.asarray(sizes, np.float64) ** -exponent
    return error


def _estimate(draws: Floats) -> Estimate:
    """The first draw is the figure itself."""
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return Estimate(float(draws[0]), float(low), float(high))
