"""The benchmark of the conformal promise finds one that is broken, and does not cry where it is kept."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.conformal import Answered, cover, halves
from benchmarks.unlike import shuffled

SPLITS = 60


@pytest.fixture(scope="module")
def answered() -> Answered:
    """400 patients with three reports each; the model knows the common label well and the rare one badly."""
    rng = np.random.default_rng(5)
    of_patient = (rng.random(400) < 0.3).astype(int)
    truth = np.repeat(of_patient, 3)
    logit = np.where(truth == 1, 0.3, -2.5) + np.repeat(rng.normal(0, 1, 400), 3) + rng.normal(0, 0.5, 1200)
    rare = 1 / (1 + np.exp(-logit))
    patients = np.repeat([f"p{number}" for number in range(400)], 3)
    return Answered(np.stack([1 - rare, rare], axis=1), truth, patients, ("common", "rare"))


@pytest.mark.parametrize("one_a_patient", [False, True])
def test_a_kept_promise_is_not_called_broken(answered: Answered, one_a_patient: bool) -> None:
    found = cover(answered, 0.05, SPLITS, one_a_patient=one_a_patient)
    assert not any(found.is_broken(0.05, label, z=2.8) for label in (0, 1))


def test_one_limit_for_all_labels_and_a_promise_too_large_by_half_are_called_broken(
    answered: Answered,
) -> None:
    assert cover(answered, 0.05, SPLITS, pooled=True).is_broken(0.05, 1, z=2.8)
    assert cover(answered, 0.15, SPLITS).is_broken(0.10, 0, z=2.8)


@pytest.mark.parametrize(("one_a_patient", "reports"), [(False, 30), (True, 10)])
def test_no_patient_calibrates_and_is_asked_in_one_split(one_a_patient: bool, reports: int) -> None:
    owner = np.repeat(np.arange(10), 3)
    known, asked = halves(owner, np.random.default_rng(0), one_a_patient)
    assert len({*known, *asked}) == len(known) + len(asked) == reports
    assert not set(owner[known]) & set(owner[asked])
    assert len(set(owner[known])) == 5


def test_shuffling_keeps_the_words_and_loses_their_order() -> None:
    said = "nódulo em mama esquerda sem atipias"
    (found,) = shuffled([said], np.random.default_rng(1))
    assert found != said
    assert sorted(found.split(" ")) == sorted(said.split(" "))
