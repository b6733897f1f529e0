"""What the measurements know: P(label | measurements), and what of a property they explain."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from tasks.ml.arrays import Floats, Ints
from tasks.ml.audit.chance import Chance
from tasks.ml.audit.corpus import Units
from tasks.ml.errors import UnfitData

FOLDS, ROUNDS = 10, 3
FEW_VALUES = 8  # a column with so few distinct values names categories, not amounts
RIDGE = 2.0


def out_of_fold(
    rows: Any, truth: Ints, labels: int, *, C: float, folds: int = FOLDS, rounds: int = 1
) -> Floats:
    """(units, labels): probabilities by logistic regression that never saw the unit.

    The mean over `rounds` partitions. Raises UnfitData where a label has fewer than two units.
    """
    fewest = int(np.bincount(truth, minlength=labels).min())
    if fewest < 2:
        raise UnfitData("a label that most reports of one row only bear cannot be audited; leave it out")
    total = np.zeros((len(truth), labels))
    for seed in range(rounds):
        parts = StratifiedKFold(min(folds, fewest), shuffle=True, random_state=seed)
        for train, asked in parts.split(np.zeros(len(truth)), truth):
            model = LogisticRegression(C=C, max_iter=1000).fit(rows[train], truth[train])
            total[asked] += model.predict_proba(rows[asked])
    return total / rounds


def given_measurements(units: Units, values: Floats) -> tuple[Chance, Floats]:
    """The null given the measurements (units, columns), and P(label | measurements), (units, labels).

    No probability is nearer to 0 or 1 than one unit in all: no model fitted on so many can be surer.
    """
    design = design_of(values)
    probability = out_of_fold(design, units.truth, len(units.labels), C=1.0, rounds=ROUNDS)
    probability = _sharpened(probability, units.truth)
    probability = np.clip(probability, 1 / len(units), 1 - 1 / len(units))
    return Chance(units.one_hot, probability, residual_maker(design, probability)), probability


def _sharpened(probability: Floats, truth: Ints) -> Floats:
    """The same under the temperature of least log loss.

    Guo et al. 2017, "On Calibration of Modern Neural Networks". A mean over partitions, each fitted on fewer
    units than there are, is too timid.
    """
    logits = np.log(np.maximum(probability, 1e-12))

    def loss(log_temperature: float) -> float:
        said = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(said[np.arange(len(truth)), truth].mean())

    temperature = np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x)
    return np.asarray(softmax(logits / temperature, axis=1))


def outright(units: Units) -> Chance:
    """The null of what no finding can explain: every unit has the labels' shares."""
    shares = units.one_hot.mean(axis=0)
    return Chance(units.one_hot, np.tile(shares, (len(units), 1)), None)


def design_of(values: Floats) -> Floats:
    """Amounts standardised; a column of a few distinct values as one column a value."""
    parts = []
    for column in np.asarray(values, dtype=np.float64).T:
        known = np.unique(column)
        if len(known) <= FEW_VALUES:
            parts.append((column[:, None] == known[None, 1:]).astype(np.float64))
        else:
            parts.append(StandardScaler().fit_transform(column[:, None]))
    return np.hstack(parts)


def residual_maker(design: Floats, probability: Floats) -> Floats:
    """(units, units): times a property, what kernel ridge regression on the measurements leaves of it.

    The kernel adds up a smooth function of all columns, a linear one, and a smooth one of the log-odds, along
    which an error of `probability` would lie.
    """
    odds = np.log(probability[:, 1:]) - np.log(probability[:, :1])
    columns = max(design.shape[1], 1)
    kernel = 1.0 + _near(design, columns) + design @ design.T / columns + _near(odds / 2, odds.shape[1])
    units = len(design)
    made = RIDGE * np.linalg.inv(kernel + RIDGE * np.eye(units))
    return np.asarray(made)


def _near(rows: Floats, width: float) -> Floats:
    """exp(-squared distance / 2 width) of every pair."""
    square = (rows**2).sum(axis=1)
    distance = np.maximum(square[:, None] + square[None, :] - 2 * rows @ rows.T, 0)
    return np.asarray(np.exp(-distance / (2 * width)))
