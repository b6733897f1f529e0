"""How sure an answer may be: logits scaled, or pooled, to surprise the calibration split the least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from tasks.ml.arrays import Floats, Ints
from tasks.ml.errors import UnfitData

TEMPERATURES = (0.1, 20.0)
TRUST_MAX = 10.0  # in either of two that are pooled


def must_teach(labels_idx: Ints, n_labels: int, calib_labels: Ints) -> None:
    """Raise UnfitData for a label without example, or an empty calibration split."""
    missing = np.flatnonzero(np.bincount(labels_idx, minlength=n_labels) == 0)
    if len(missing):
        raise UnfitData(
            f"{len(missing)} of {n_labels} labels have no example in the training split "
            f"(label numbers {', '.join(map(str, missing))}); add examples or remove the labels"
        )
    if not len(calib_labels):
        raise UnfitData("the calibration split is empty; more patients are needed")


def smoothed(labels_idx: Ints, n_labels: int) -> Floats:
    """What each calibration report should be given: (reports, labels), rows sum to 1.

    Not 1 for its own label but (n + 1) / (n + 2), n being that label's reports, and the rest shared by
    the others: a calibration split that happens to be separable must not ask for infinite certainty
    (Platt 1999, "Probabilistic outputs for support vector machines", one label against the rest).
    """
    reports = np.bincount(labels_idx, minlength=n_labels)[labels_idx]
    own = (reports + 1) / (reports + 2)
    targets = np.repeat((1 - own)[:, None] / (n_labels - 1), n_labels, axis=1)
    targets[np.arange(len(labels_idx)), labels_idx] = own
    return targets


def log_loss(logits: Floats, targets: Floats) -> float:
    """Nats a report, of (reports, labels) logits against as many targets."""
    return float(-(targets * log_softmax(logits, axis=1)).sum(axis=1).mean())


def temperature(logits: Floats, targets: Floats) -> tuple[float, float]:
    """The temperature with the least log loss, and that loss."""
    found = minimize_scalar(
        lambda log_t: log_loss(logits / np.exp(log_t), targets),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
    )
    return float(np.exp(found.x)), float(found.fun)


def calibrated_log_loss(logits: Floats, labels_idx: Ints) -> float:
    """Log loss (nats a report) of (reports, labels) logits at the temperature that makes it least."""
    return temperature(logits, smoothed(labels_idx, logits.shape[1]))[1]


def as_rows(coef: Floats, intercept: Floats) -> tuple[Floats, Floats]:
    """One row a label: scikit-learn keeps a single row for two labels."""
    intercept = np.broadcast_to(intercept, len(coef))
    if len(coef) > 1:
        return coef.copy(), intercept.copy()
    return np.vstack([-coef / 2, coef / 2]), np.concatenate([-intercept / 2, intercept / 2])


@dataclass(frozen=True)
class Pool:
    """How far each of two is trusted: their logits, times these, are added."""

    network: float
    beside: float

    def in_words(self) -> str:
        return f"the network, trusted {self.network:.2f}, and a linear reader beside it, {self.beside:.2f}"

    def over(self, weight: NDArray[Any], bias: NDArray[Any]) -> tuple[Floats, Floats]:
        """A network's head (labels, hidden) and (labels,), for vectors that end with the other's logits."""
        ours, own = self.network * np.asarray(weight, np.float64), self.network * np.asarray(bias, np.float64)
        return np.hstack([ours, self.beside * np.eye(len(ours))]), own


def fit_pool(network: Floats, beside: Floats, labels_idx: Ints) -> Pool:
    """From (reports, labels) logits of the calibration split: the least log loss, a convex problem."""
    targets = smoothed(labels_idx, network.shape[1])

    def loss(trust: Floats) -> tuple[float, Floats]:
        logits = trust[0] * network + trust[1] * beside
        apart = (softmax(logits, axis=1) - targets) / len(targets)
        return log_loss(logits, targets), np.array([(apart * network).sum(), (apart * beside).sum()])

    found = minimize(loss, np.array([0.5, 0.5]), jac=True, bounds=[(0.0, TRUST_MAX)] * 2)
    return Pool(*map(float, found.x))
