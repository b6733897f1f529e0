"""The test for another population: it rings for one, seldom without, and not for another mix of labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.ml.judging import shift
from tasks.ml.judging.shift import Population, compare, label_mix, rings_from

COLUMNS = 12
SHARES = np.array([0.7, 0.3])


def population(
    patients: int, seed: int, *, shares: np.ndarray = SHARES, apart: float = 0.0, by: float = 1.5
) -> tuple[Population, np.ndarray]:
    """Two labels, `by` apart in the first column, of which the probabilities are made; `apart` moves the last
    column, which no probability reads."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(patients) < shares[1]).astype(np.int64)
    inputs = rng.normal(0, 1, (patients, COLUMNS))
    inputs[:, 0] += by * (2 * truth - 1)
    inputs[:, -1] += apart
    odds = np.exp(2 * by * inputs[:, 0]) * SHARES[1] / SHARES[0]  # Bayes' rule, by the calibration's shares
    rare = odds / (1 + odds)
    return Population(inputs, np.stack([1 - rare, rare], axis=1)), truth


def p_values(nights: int, *, seed: int = 0, patients: int = 100, **night: object) -> np.ndarray:
    found = []
    for number in range(nights):
        known, truth = population(80, 2 * number + 1000 * seed)
        asked, _ = population(patients, 2 * number + 1 + 1000 * seed, **night)  # type: ignore[arg-type]
        found.append(compare(known, truth, asked, number).p_value)
    return np.array(found)


def test_alike_populations_seem_others_no_more_often_than_the_level_says() -> None:
    found = p_values(200)
    for level in (0.01, 0.05, 0.2):
        assert (found < level).mean() <= level + 3 * np.sqrt(level * (1 - level) / len(found))


def test_another_population_rings_though_no_probability_reads_what_differs() -> None:
    assert (p_values(5, apart=2.0) < 1e-4).all()


def test_words_that_no_training_report_held_ring_though_no_vector_tells() -> None:
    rng = np.random.default_rng(0)
    (known, truth), (night, _) = population(80, 1), population(80, 2)
    few, many = (rng.beta(2, shape, 80) for shape in (10, 4))
    told = compare(replace(known, unknown=few), truth, replace(night, unknown=many), 0)
    assert told.by == "words"
    assert told.p_value < 1e-4
    # reports in better known words than those that calibrated are no danger
    assert compare(replace(known, unknown=many), truth, replace(night, unknown=few), 0).p_value > 0.01


def test_what_is_said_to_ring_rings() -> None:
    known, truth = population(80, 3)
    night, _ = population(80, 4)
    rung = []
    for apart in (0.2, 0.5, 0.8, 1.1):
        rng = np.random.default_rng(1)
        sides = rng.normal(0, 1, 80), rng.normal(apart, 1, 80)
        told = compare(replace(known, unknown=sides[0]), truth, replace(night, unknown=sides[1]), 0)
        if told.by == "words":
            rung.append(told.p_value < 1e-4)
            assert rung[-1] == (told.auroc > rings_from("words", 80, 80, 1e-4) + 0.01)
    assert set(rung) == {False, True}


def test_another_mix_of_labels_does_not_ring_and_would_if_it_were_not_allowed_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turned = {"shares": SHARES[::-1], "patients": 300, "by": 2.5}
    assert (p_values(20, **turned) < 0.01).sum() <= 1  # type: ignore[arg-type]
    monkeypatch.setattr(shift, "label_mix", lambda _probabilities, shares: shares)
    assert (p_values(20, **turned) < 0.01).sum() >= 15  # type: ignore[arg-type]


def test_the_mix_of_labels_is_found_in_the_probabilities() -> None:
    night, truth = population(4000, 7, shares=np.array([0.25, 0.75]))
    assert label_mix(night.probabilities, SHARES) == pytest.approx([0.25, 0.75], abs=0.03)
    assert np.bincount(truth, minlength=2) / 4000 == pytest.approx([0.25, 0.75], abs=0.03)


def test_a_label_without_a_calibration_report_takes_no_part() -> None:
    night, _ = population(100, 1)
    known, truth = population(80, 2, shares=np.array([1.0, 0.0]))
    assert set(truth.tolist()) == {0}
    assert label_mix(night.probabilities, np.array([1.0, 0.0])).tolist() == [1.0, 0.0]
    assert compare(known, truth, night, 0).p_value < 0.01


def test_a_new_way_of_writing_rings_until_most_calibration_reports_are_written_so() -> None:
    night, _ = population(100, 1, apart=6.0)
    (old, first), (new, second) = population(80, 2), population(80, 3, apart=6.0)
    found = []
    for share in (0.2, 0.9):
        of_new = np.arange(80) < 80 * share
        mixed = Population(
            np.where(of_new[:, None], new.vectors, old.vectors),
            np.where(of_new[:, None], new.probabilities, old.probabilities),
        )
        found.append(compare(mixed, np.where(of_new, second, first), night, 0).p_value < 1e-4)
    assert found == [True, False]


def test_the_same_night_is_judged_alike_every_time() -> None:
    known, truth = population(80, 3)
    night, _ = population(90, 4)
    assert compare(known, truth, night, 5) == compare(known, truth, night, 5)


def test_columns_that_never_change_and_reports_that_are_all_alike_are_no_difference() -> None:
    known, truth = population(60, 1)
    same = Population(np.ones((60, 3)), known.probabilities)
    assert compare(same, truth, same, 0).p_value > 0.5
