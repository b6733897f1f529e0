"""The last linear layer, fitted alone: a convex problem on stored vectors, seconds instead of hours."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from transformers import PreTrainedModel

from tasks.ml.arrays import Floats, Ints
from tasks.ml.errors import UnfitEncoder
from tasks.ml.network.calibration import Pool, as_rows, fit_pool, log_loss, must_teach, smoothed
from tasks.ml.network.calibration import temperature as temperature_of
from tasks.ml.network.features import Vectors, last_linear

# C of the logistic regression: large is little regularisation
STRENGTHS = tuple(10.0**power for power in (-4, -3, -2, -1, 0, 1))
LEAST_SPREAD = 1e-4  # of a feature, as a share of its mean or of the size of all: a thousand steps of float32


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted last layer. Its temperature is already folded into weight and bias."""

    weight: NDArray[np.float32]  # (labels, hidden)
    bias: NDArray[np.float32]  # (labels,)
    temperature: float


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

    Features are standardised on the training vectors and the scaling folded back, but for those that hardly
    move (LEAST_SPREAD), which stay as they are. C is the one with the least log loss on the calibration
    split, and so is the temperature (Guo et al. 2017, "On calibration of modern neural networks"), both
    against Platt's smoothed targets. `weights`: one a report. `bias=False` for a network whose last layer
    has none (GPT-2). Raises UnfitData for a label without example, UnfitEncoder for vectors that are
    no numbers.
    """
    must_teach(labels_idx, n_labels, calib_labels)
    read = np.concatenate([np.isfinite(part).all(axis=1) for part in (vectors, calib_vectors)])
    if not read.all():
        raise UnfitEncoder(
            f"{(~read).sum()} of {len(read)} reports are read as what is no number: the encoder's weights "
            "are damaged or far too large; use another"
        )
    numbers = np.asarray(vectors, np.float64)
    mean = numbers.mean(axis=0) if bias else np.zeros(numbers.shape[1])
    spread = np.sqrt(((numbers - mean) ** 2).mean(axis=0))
    # of a unit that hardly moves float32 holds mostly rounding, which every back end rounds in its own way
    least = LEAST_SPREAD * np.maximum(np.abs(mean), np.sqrt((numbers**2).mean()))
    spread = np.where(spread > least, spread, 1.0)
    scaled, calib_scaled = (numbers - mean) / spread, (calib_vectors - mean) / spread

    model = LogisticRegression(
        max_iter=2000, tol=1e-5, warm_start=True, fit_intercept=bias, random_state=seed
    )
    targets = smoothed(calib_labels, n_labels)
    fits: list[tuple[float, float, Floats, Floats]] = []
    for strength in STRENGTHS:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            # an unfinished fit shows in the calibration loss, which decides anyway
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaled, labels_idx, sample_weight=weights)
        weight, offset = as_rows(model.coef_, model.intercept_)
        fits.append((log_loss(calib_scaled @ weight.T + offset, targets), strength, weight, offset))
    *_, weight, offset = min(fits, key=lambda fit: (fit[0], fit[1]))

    temperature, _ = temperature_of(calib_scaled @ weight.T + offset, targets)
    weight = weight / spread / temperature
    offset = offset / temperature - weight @ mean
    return Head(weight.astype(np.float32), offset.astype(np.float32), temperature)


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


def fit_head_and_pool(
    vectors: Vectors,
    labels_idx: Ints,
    n_labels: int,
    calib_vectors: Vectors,
    calib_labels: Ints,
    *,
    hidden: int,
    seed: int = 0,
    bias: bool = True,
) -> tuple[Head, Pool | None]:
    """`fit_head` on the network's own `hidden` numbers, and how far it is trusted beside what stands behind.

    No pool where nothing does. Raises what `fit_head` raises.
    """
    head = fit_head(
        vectors[:, :hidden],
        labels_idx,
        n_labels,
        calib_vectors[:, :hidden],
        calib_labels,
        seed=seed,
        bias=bias,
    )
    alone = calib_vectors.shape[1] == hidden
    return head, None if alone else pool_of(head, calib_vectors, calib_labels)


def pool_of(head: Head, calib_vectors: Vectors, calib_labels: Ints) -> Pool:
    """How far the network is trusted, and what answers beside it: its logits stand behind the vectors."""
    hidden = head.weight.shape[1]
    ours = np.asarray(calib_vectors[:, :hidden], np.float64) @ head.weight.T + head.bias
    return fit_pool(ours, np.asarray(calib_vectors[:, hidden:], np.float64), calib_labels)


def probabilities(head: Head, vectors: Vectors, pool: Pool | None = None) -> Floats:
    """Calibrated probabilities (reports, labels), of `pool` where there is one; rows sum to 1."""
    if pool is None:
        return softmax_of(head.weight, head.bias, vectors)
    return softmax_of(*pool.over(head.weight, head.bias), vectors)


def softmax_of(weight: NDArray[np.floating], bias: NDArray[np.floating], vectors: Vectors) -> Floats:
    """softmax(vectors @ weight.T + bias) in float64: (reports, labels)."""
    logits = np.asarray(vectors, np.float64) @ np.asarray(weight, np.float64).T + bias
    result: Floats = np.exp(log_softmax(logits, axis=1))
    return result
