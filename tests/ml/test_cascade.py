"""A cascade promises only what its calibration reports prove."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tasks.ml.network.backends import OTHER_DECISIONS_MAX
from tasks.ml.network.cascade import (
    CRITICAL_LOST_MAX,
    ERROR,
    Agreement,
    choose,
    error_of,
    is_sure,
    reports_needed,
)


@dataclass(frozen=True)
class Said:
    label: str
    probabilities: dict[str, float]
    decision: str = "auto"


def said(label: str, sure: float = 0.999, decision: str = "auto") -> Said:
    other = "maligno" if label == "benigno" else "benigno"
    return Said(label, {label: sure, other: 1 - sure}, decision)


CHAMPION = [said("maligno" if number % 10 == 0 else "benigno") for number in range(6000)]


def test_both_promises_need_so_many_reports_and_one_fewer_proves_nothing() -> None:
    needed = reports_needed(OTHER_DECISIONS_MAX, ERROR)
    assert needed == 2995
    assert Agreement(needed, 500, needed, 0, 0).proves(ERROR)
    assert not Agreement(needed - 1, 500, needed, 0, 0).proves(ERROR)
    assert not Agreement(needed, reports_needed(CRITICAL_LOST_MAX, ERROR) - 1, needed, 0, 0).proves(ERROR)


def test_a_student_that_breaks_its_promise_passes_as_seldom_in_many_tests_as_in_one() -> None:
    """At one in a thousand it would just keep it: the likeliest to pass of all that do not."""
    looks = np.array([3700, 4070, 4480, 5000, 5500, 6100, 6700, 7400, 8200, 9000, 10_000])
    more = np.diff(looks, prepend=0)
    differing = np.random.default_rng(0).binomial(more, OTHER_DECISIONS_MAX, (20_000, len(more))).cumsum(1)

    def passes(errors: list[float]) -> float:
        most = [
            sum(Agreement(n, 1000, n, others, 0).proves(error) for others in range(12))
            for n, error in zip(looks.tolist(), errors, strict=True)
        ]
        return float((differing < most).any(axis=1).mean())

    assert passes([error_of(test) for test in range(1, len(looks) + 1)]) < ERROR
    assert passes([ERROR] * len(looks)) > 1.5 * ERROR, "the control: all of it each time"


def test_the_largest_likely_share_is_what_was_promised_where_it_is_just_proven() -> None:
    told = Agreement(2995, 299, 2995, 0, 0)
    assert told.other_decisions_share_max == pytest.approx(OTHER_DECISIONS_MAX, rel=5e-3)
    assert told.critical_lost_share_max == pytest.approx(CRITICAL_LOST_MAX, rel=5e-3)


def test_a_student_that_agrees_answers_everything() -> None:
    chosen = choose(CHAMPION, CHAMPION, "maligno", ERROR)
    assert chosen.refused is None
    assert chosen.agreement == Agreement(6000, 600, 6000, 0, 0)


def test_the_confidence_leaves_out_what_the_student_gets_wrong() -> None:
    rng = np.random.default_rng(0)
    # one in twenty is unsure, and wrong
    student = [
        said("maligno" if one.label == "benigno" else "benigno", 0.8) if rng.random() < 0.05 else one
        for one in CHAMPION
    ]
    chosen = choose(student, CHAMPION, "maligno", ERROR)
    assert chosen.refused is None
    assert chosen.agreement.other_decisions <= 2
    assert 5600 < chosen.agreement.answered < 5800
    assert not is_sure(said("benigno", 0.8), chosen.confidence)


@pytest.mark.parametrize(
    ("student", "champion", "why"),
    [
        (CHAMPION[:2994], CHAMPION[:2994], "2,994 patients' calibration reports are too few"),
        ([said("benigno")] * 6000, [said("benigno")] * 6000, "0 reports that the champion calls critical"),
        ([said("benigno")] * 6000, CHAMPION, "never sure enough"),
        ([said(one.label, decision="review") for one in CHAMPION], CHAMPION, "never sure enough"),
        (CHAMPION, [said(one.label, decision="review") for one in CHAMPION], "never sure enough"),
    ],
)  # fmt: skip
def test_what_cannot_be_promised_is_refused(student: list[Said], champion: list[Said], why: str) -> None:
    assert why in str(choose(student, champion, "maligno", ERROR).refused)


def test_an_audit_fails_only_where_the_promise_can_hardly_hold() -> None:
    assert Agreement(1000, 100, 900, 1, 0).breach() is None
    assert "5 of 1,000 audited decisions" in str(Agreement(1000, 100, 900, 5, 0).breach())
    assert "5 of 100 audited critical" in str(Agreement(100_000, 100, 90_000, 5, 5).breach())
    assert Agreement(0, 0, 0, 0, 0).breach() is None
