"""A model that misses one group is refused, one that treats all alike is not; small groups decide nothing."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from tasks.ml.judging.fairness import fairness_reasons, gap_figures, gaps_of
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.rules import Reason, Rules
from tasks.ml.judging.slice_fields import Field

PATIENTS = 240


def judged(
    caught: dict[str, float], sent: dict[str, float], *, small: int = 0, protected: bool = True, seed: int = 0
) -> tuple[list[Reason], dict[tuple[str, str], float | None]]:
    """A report a patient, half of them critical; `caught` and `sent`: each group's true rates."""
    rng = np.random.default_rng(seed)
    groups = list(caught)
    group = np.array([groups[n % len(groups)] for n in range(PATIENTS)], dtype=object)
    group[:small] = "few"
    truth = rng.integers(2, size=PATIENTS)
    caught, sent = caught | {"few": 0.0}, sent | {"few": 1.0}
    right = rng.random(PATIENTS) < np.array([caught[one] for one in group])
    critical = np.where((truth == 1) & right, 0.9, 0.1)
    given = Sample.of(
        np.stack([1 - critical, critical], axis=1), truth, [f"p{n}" for n in range(PATIENTS)], 2
    )
    to_person = rng.random(PATIENTS) < np.array([sent[one] for one in group])
    field = Field("institution", group.tolist(), protected=protected)
    gaps = gaps_of(given, [field], 1, to_person, n_boot=300, seed=0)
    figures = {(one.name, one.slice): one.value for one in gap_figures(gaps)}
    return fairness_reasons(gaps, Rules()), figures


ALIKE = {"norte": 0.9, "sul": 0.9}
SENT = {"norte": 0.3, "sul": 0.3}


def test_a_group_whose_critical_reports_are_missed_refuses_the_challenger() -> None:
    (sensitivity, review), figures = judged({"norte": 0.95, "sul": 0.3}, SENT)
    assert (sensitivity.passed, review.passed) == (False, True)
    assert "institution=" in sensitivity.found
    value = figures["sensitivity_difference", "institution=sul"]
    assert value is not None
    assert value < -0.4
    assert figures["sensitivity_difference", "institution=norte"] == pytest.approx(-value)
    json.dumps(asdict(sensitivity))  # it is recorded as JSON


def test_a_group_that_alone_is_left_to_a_person_refuses_the_challenger() -> None:
    (sensitivity, review), _ = judged(ALIKE, {"norte": 0.05, "sul": 0.95})
    assert (sensitivity.passed, review.passed) == (True, False)


def test_groups_that_are_treated_alike_are_let_through_whatever_the_draw() -> None:
    assert all(reason.passed for seed in range(20) for reason in judged(ALIKE, SENT, seed=seed)[0])


def test_a_group_too_small_to_be_judged_is_named_and_decides_nothing() -> None:
    reasons, figures = judged(ALIKE, SENT, small=8)
    assert all(reason.passed for reason in reasons)
    assert all(
        "too small to be judged" in reason.found and "institution=few" in reason.found for reason in reasons
    )
    assert figures["sensitivity_difference", "institution=few"] is not None  # marked, not hidden


def test_a_field_that_is_not_protected_is_not_compared_and_the_outcome_says_so() -> None:
    reasons, figures = judged({"norte": 0.95, "sul": 0.3}, SENT, protected=False)
    assert all(reason.passed and "no protected field differs" in reason.found for reason in reasons)
    assert figures == {}


def test_a_margin_of_one_asks_nothing() -> None:
    assert fairness_reasons([], Rules(fairness_margin=1, fairness_review_margin=1)) == []
