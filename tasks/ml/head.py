"""The last linear layer, fitted alone: a convex problem on stored vectors, seconds instead of hours."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from transformers import PreTrainedModel

from tasks.ml.errors import UnfitData, UnfitEncoder
from tasks.ml.features import Vectors, last_linear

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STRENGTHS = tuple(10.0**power for power in (-4, -3, -2, -1, 0, 1))
TEMPERATURES = (0.1, 20.0)


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted last layer. Its temperature is already folded into weight and bias."""

    weight: NDArray[np.float32]  # (labels, hidden)
    bias: NDArray[np.float32]  # (labels,)
    temperature: float
    strength: float  # C of the logistic regression: large is little regularisation
    calibration_log_loss: float  # after the temperature, against smoothed targets


def fit_head(
    vectors: Vectors,
    labels_idx: Ints,
    n_labels: int,
    calib_vectors: Vectors,
    calib_labels: Ints,
    *,
    weights: Floats | None = None,
    seed: int = 0,
    bias: bool = True,
) -> Head:
    """Multinomial logistic regression on (reports, hidden) vectors; the same input gives the same head.

    Features are standardised on the training vectors and the scaling folded back. C is the one with
    the least log loss on the calibration split, and so is the temperature (Guo et al. 2017, "On
    calibration of modern neural networks"), both against Platt's smoothed targets. `weights`: one a
    report. `bias=False` for a network whose last layer has none (GPT-2). Raises UnfitData for a
    label without example.
    """
    _must_teach(labels_idx, n_labels, calib_labels)
    numbers = np.asarray(vectors, np.float64)
    mean = numbers.mean(axis=0) if bias else np.zeros(numbers.shape[1])
    spread = np.sqrt(((numbers - mean) ** 2).mean(axis=0))
    spread = np.where(spread > 1e-8, spread, 1.0)
    scaled, calib_scaled = (numbers - mean) / spread, (calib_vectors - mean) / spread

    model = LogisticRegression(
        max_iter=2000, tol=1e-5, warm_start=True, fit_intercept=bias, random_state=seed
    )
    targets = _targets(calib_labels, n_labels)
    fits: list[tuple[float, float, Floats, Floats]] = []
    for strength in STRENGTHS:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            # an unfinished fit shows in the calibration loss, which decides anyway
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaled, labels_idx, sample_weight=weights)
        weight, offset = _as_rows(model.coef_, model.intercept_)
        fits.append((_log_loss(calib_scaled @ weight.T + offset, targets), strength, weight, offset))
    _, strength, weight, offset = min(fits, key=lambda fit: (fit[0], fit[1]))

    temperature, loss = _temperature(calib_scaled @ weight.T + offset, targets)
    weight = weight / spread / temperature
    offset = offset / temperature - weight @ mean
    return Head(weight.astype(np.float32), offset.astype(np.float32), temperature, strength, loss)


def fold_in(model: PreTrainedModel, head: Head) -> None:
    """Put `head` into the network's last layer; nothing else in it moves. Raises UnfitEncoder."""
    name, linear = last_linear(model)
    if tuple(linear.weight.shape) != head.weight.shape:
        raise UnfitEncoder(
            f"{name} is {tuple(linear.weight.shape)} and the head {head.weight.shape}: "
            "it was fitted for another encoder or other labels; fit it again"
        )
    if linear.bias is None and head.bias.any():
        raise UnfitEncoder(f"{name} has no bias: fit the head with bias=False")
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(head.weight))
        if linear.bias is not None:
            linear.bias.copy_(torch.from_numpy(head.bias))


def head_of(model: PreTrainedModel) -> tuple[Floats, Floats]:
    """Weight (labels, hidden) and bias (labels,) of the network's last layer."""
    _, linear = last_linear(model)
    weight = linear.weight.detach().cpu().numpy().astype(np.float64)
    bias = np.zeros(len(weight)) if linear.bias is None else linear.bias.detach().cpu().numpy()
    return weight, bias.astype(np.float64)


def probabilities(head: Head, vectors: Vectors) -> Floats:
    """Calibrated probabilities (reports, labels); rows sum to 1."""
    return softmax_of(head.weight, head.bias, vectors)


def softmax_of(weight: NDArray[np.floating], bias: NDArray[np.floating], vectors: Vectors) -> Floats:
    """softmax(vectors @ weight.T + bias) in float64: (reports, labels)."""
    logits = np.asarray(vectors, np.float64) @ np.asarray(weight, np.float64).T + bias
    result: Floats = np.exp(log_softmax(logits, axis=1))
    return result


def calibrated_log_loss(logits: Floats, labels_idx: Ints) -> float:
    """Log loss (nats a report) of (reports, labels) logits at the temperature that makes it least."""
    return _temperature(logits, _targets(labels_idx, logits.shape[1]))[1]


def _must_teach(labels_idx: Ints, n_labels: int, calib_labels: Ints) -> None:
    missing = np.flatnonzero(np.bincount(labels_idx, minlength=n_labels) == 0)
    if len(missing):
        raise UnfitData(
            f"{len(missing)} of {n_labels} labels have no example in the training split "
            f"(label numbers {', '.join(map(str, missing))}); add examples or remove the labels"
        )
    if not len(calib_labels):
        raise UnfitData("the calibration split is empty; more patients are needed")


def _as_rows(coef: Floats, intercept: Floats) -> tuple[Floats, Floats]:
    """One row a label: scikit-learn keeps a single row for two labels."""
    intercept = np.broadcast_to(intercept, len(coef))
    if len(coef) > 1:
        return coef.copy(), intercept.copy()
    return np.vstack([-coef / 2, coef / 2]), np.concatenate([-intercept / 2, intercept / 2])


def _targets(labels_idx: Ints, n_labels: int) -> Floats:
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


def _log_loss(logits: Floats, targets: Floats) -> float:
    return float(-(targets * log_softmax(logits, axis=1)).sum(axis=1).mean())


def _temperature(logits: Floats, targets: Floats) -> tuple[float, float]:
    """The temperature with the least log loss, and that loss."""
    found = minimize_scalar(
        lambda log_t: _log_loss(logits / np.exp(log_t), targets),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
    )
    return float(np.exp(found.x)), float(found.fun)
