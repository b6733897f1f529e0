"""Wrong labels that were planted are found, and right ones are left in peace."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.ml.errors import UnfitData
from tasks.ml.labels.label_noise import Noise, find_noise, out_of_fold

REPORTS, LABELS, HIDDEN = 600, 3, 12
WRONG = 0.10


@dataclass(frozen=True, eq=False)
class Problem:
    """Reports whose true label their vectors tell almost surely, two a patient."""

    vectors: NDArray[np.float32]
    true: NDArray[np.int64]
    patients: list[str]

    def judged(self, given: NDArray[np.int64], vectors: NDArray[np.float32] | None = None) -> Noise:
        read = self.vectors if vectors is None else vectors
        return find_noise(out_of_fold(read, given, self.patients, LABELS, seed=1), given)


@pytest.fixture(scope="module")
def easy() -> Problem:
    rng = np.random.default_rng(3)
    true = np.repeat(rng.integers(LABELS, size=REPORTS // 2), 2)
    centres = rng.normal(size=(LABELS, HIDDEN)) * 2.0
    vectors = centres[true] + rng.normal(size=(REPORTS, HIDDEN))
    return Problem(vectors.astype(np.float32), true, [f"p{number // 2}" for number in range(REPORTS)])


@pytest.fixture(scope="module")
def planted(easy: Problem) -> NDArray[np.int64]:
    """One label in ten, taken for the next one: all of a patient's reports, as a wrong diagnosis would be."""
    drawn = np.random.default_rng(4).random(REPORTS // 2) < WRONG
    wrong = np.repeat(drawn, 2)
    return np.where(wrong, (easy.true + 1) % LABELS, easy.true)


@pytest.fixture(scope="module")
def found(easy: Problem, planted: NDArray[np.int64]) -> Noise:
    return easy.judged(planted)


def test_planted_wrong_labels_are_found_far_beyond_chance(
    easy: Problem, planted: NDArray[np.int64], found: Noise
) -> None:
    wrong = planted != easy.true
    doubted = np.zeros(REPORTS, bool)
    doubted[found.doubted] = True
    # by chance a list holds as large a share of wrong labels as there are: one in ten
    assert wrong[doubted].mean() > 0.8
    assert doubted[wrong].mean() > 0.7
    assert (found.suggested == easy.true)[doubted & wrong].mean() > 0.95


def test_the_clearest_come_first(easy: Problem, planted: NDArray[np.int64], found: Noise) -> None:
    margins = found.margin[found.doubted]
    assert (np.diff(margins) <= 0).all()
    assert margins.min() > 0
    first = found.doubted[:20]
    assert (planted[first] != easy.true[first]).mean() >= 0.95


def test_right_labels_raise_few_alarms(easy: Problem) -> None:
    clean = easy.judged(easy.true)
    assert len(clean.doubted) < 0.02 * REPORTS
    assert clean.share < 0.03


def test_the_joint_tells_which_label_is_taken_for_which(
    easy: Problem, planted: NDArray[np.int64], found: Noise
) -> None:
    truth = np.zeros((LABELS, LABELS))
    np.add.at(truth, (planted, easy.true), 1 / REPORTS)
    assert found.joint.sum() == pytest.approx(1)
    assert found.joint.sum(axis=1) == pytest.approx(np.bincount(planted) / REPORTS)
    assert found.joint == pytest.approx(truth, abs=0.02)
    assert found.share == pytest.approx((planted != easy.true).mean(), abs=0.03)


def test_a_body_that_learnt_the_labels_by_heart_hides_the_wrong_ones(
    easy: Problem, planted: NDArray[np.int64], found: Noise
) -> None:
    by_heart = np.hstack([easy.vectors, 6 * np.eye(LABELS)[planted]]).astype(np.float32)
    assert len(easy.judged(planted, by_heart).doubted) < 0.2 * len(found.doubted)


def test_one_report_of_a_patient_does_not_vouch_for_the_wrong_label_of_the_other(
    easy: Problem, planted: NDArray[np.int64]
) -> None:
    # a head that had seen one report of a patient would know the other's label by these columns
    code = np.repeat(np.random.default_rng(5).normal(size=(REPORTS // 2, 150)), 2, axis=0)
    vectors = np.hstack([easy.vectors, code]).astype(np.float32)
    wrong = np.flatnonzero(planted != easy.true)

    def recall(patients: list[str]) -> float:
        noise = replace(easy, patients=patients).judged(planted, vectors)
        return float(np.isin(wrong, noise.doubted).mean())

    dealt_alone = [f"r{number}" for number in range(REPORTS)]
    assert recall(easy.patients) > 1.5 * recall(dealt_alone)


def test_the_same_reports_give_the_same_list(easy: Problem, planted: NDArray[np.int64]) -> None:
    some = replace(easy, vectors=easy.vectors[:150], patients=easy.patients[:150])
    assert (some.judged(planted[:150]).margin == some.judged(planted[:150]).margin).all()


def test_by_hand() -> None:
    # thresholds .8 and .7: the third report reaches the other label's, the fourth reaches none
    probable = np.array([[0.95, 0.05], [0.9, 0.1], [0.25, 0.75], [0.4, 0.6], [0.2, 0.8]])
    given = np.array([0, 0, 0, 1, 1])
    noise = find_noise(probable, given)
    assert noise.thresholds == pytest.approx([0.7, 0.7])
    assert noise.doubted.tolist() == [2]
    assert noise.margin[2] == pytest.approx(0.5)
    # of three given the first label one is truly of the second; of two given the second, one counts
    assert noise.joint == pytest.approx(np.array([[0.4, 0.2], [0.0, 0.4]]))


def test_one_who_reaches_another_labels_threshold_but_prefers_its_own_is_not_in_doubt() -> None:
    probable = np.array([[0.99, 0.01], [0.6, 0.4], [0.7, 0.3], [0.6, 0.4]])
    noise = find_noise(probable, np.array([0, 0, 1, 1]))
    assert noise.thresholds == pytest.approx([0.795, 0.35])
    assert noise.suggested[1] == 0
    assert 1 not in noise.doubted
    assert noise.joint[0, 1] > 0  # although it counts as truly of the other


def test_a_label_that_one_fold_holds_alone_is_refused(easy: Problem) -> None:
    given = np.where(np.arange(REPORTS) < 2, 2, easy.true % 2)  # one patient
    with pytest.raises(UnfitData, match="no example"), pytest.warns(UserWarning, match="least populated"):
        easy.judged(given)
