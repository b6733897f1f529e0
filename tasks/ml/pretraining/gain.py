"""Whether pre-training helped: the same head on an encoder before and after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.ml.arrays import Bools, Floats, Ints
from tasks.ml.errors import UnfitData
from tasks.ml.network.features import Vectors
from tasks.ml.network.head import fit_head, probabilities
from tasks.ml.splits import unit_interval

_HALVES_SALT = "laudos-pretraining-halves-1"


def cross_fitted(
    vectors: Vectors,
    labels_idx: Ints,
    n_labels: int,
    held_vectors: Vectors,
    held_labels: Ints,
    held_patients: Sequence[str],
    *,
    seed: int,
    bias: bool,
) -> Floats:
    """(held reports, labels) probabilities, each by a head that the other half of their patients chose.

    A head learns from training vectors, and its strength and temperature from held ones: those of one half of
    the patients where it answers for the other, so that nothing is judged by what it chose. Raises UnfitData
    where a half is empty.
    """
    first = in_first_half(held_patients)
    answers = np.zeros((len(held_labels), n_labels))
    for judged in (first, ~first):
        head = fit_head(
            vectors, labels_idx, n_labels, held_vectors[~judged], held_labels[~judged], seed=seed, bias=bias
        )
        answers[judged] = probabilities(head, held_vectors[judged])
    return answers


def in_first_half(held_patients: Sequence[str]) -> Bools:
    """(held reports,) whose patients are of the one half; the same ones every time. Raises UnfitData where a
    half is empty."""
    first = np.array([unit_interval(patient, _HALVES_SALT) < 0.5 for patient in held_patients], bool)
    if first.all() or not first.any():
        raise UnfitData(
            "whether pre-training helps is judged on two halves of the labelled calibration patients, and "
            f"one half of the {len(set(held_patients)):,} there are is empty: label reports of more patients"
        )
    return first
