"""A challenger may not unlearn what the champion reads right: the behaviour suite as a rule of promotion."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from tasks.ml.behaviour.gate import behaviour_reasons, lower_end_of_difference
from tasks.ml.behaviour.run import SuiteRun
from tasks.ml.behaviour.suite import Suite, load_suite
from tasks.ml.errors import UnfitData
from tasks.ml.judging.rules import Reason, Rules

RULES = Rules()
PAAF = load_suite("paaf")
OVERALL, NEGATION = "behaviour not worse than the champion's", "negation not worse than the champion's"


def run_with(right: np.ndarray, suite: Suite = PAAF) -> SuiteRun:
    nothing = np.zeros(len(suite.pairs))
    return SuiteRun(suite, nothing, nothing, right.astype(bool))


def everything() -> np.ndarray:
    return np.ones(len(PAAF.pairs), dtype=bool)


def where(kind: str) -> np.ndarray:
    return np.flatnonzero([pair.kind == kind for pair in PAAF.pairs])


def refused(reasons: list[Reason]) -> set[str]:
    return {reason.rule for reason in reasons if not reason.passed}


def test_the_same_answers_are_not_worse() -> None:
    half = np.arange(len(PAAF.pairs)) % 2 == 0
    reasons = behaviour_reasons(run_with(half), run_with(half), RULES)
    assert [reason.rule for reason in reasons] == [OVERALL, NEGATION]
    assert refused(reasons) == set()


def test_a_challenger_that_lost_its_negations_is_refused_on_both_counts() -> None:
    lost = everything()
    lost[where("negation")[:30]] = False
    reasons = behaviour_reasons(run_with(lost), run_with(everything()), RULES)
    assert refused(reasons) == {OVERALL, NEGATION}
    negation = reasons[1]
    n = len(where("negation"))
    assert (
        f"{n - 30} of {n} pairs right against {n}; 0 right that the champion gets wrong, 30" in negation.found
    )
    assert f"suite paaf, {PAAF.sha[:8]}" in negation.found


def test_negation_lost_is_not_bought_back_elsewhere() -> None:
    ours, theirs = everything(), everything()
    ours[where("negation")[:14]] = False
    theirs[where("severity")[:14]] = False
    assert refused(behaviour_reasons(run_with(ours), run_with(theirs), RULES)) == {NEGATION}


def test_a_few_pairs_lost_and_gained_are_noise() -> None:
    ours, theirs = everything(), everything()
    ours[where("severity")[:4]] = False
    theirs[where("typos")[:4]] = False
    assert refused(behaviour_reasons(run_with(ours), run_with(theirs), RULES)) == set()


def test_a_challenger_worse_by_the_margin_gets_through_in_one_of_twenty_at_most() -> None:
    rng, passed = np.random.default_rng(0), 0
    for _ in range(400):
        theirs = rng.random(len(PAAF.pairs)) < 0.9
        # right 85 % of the time: 5 points worse, and wrong on other pairs than the champion, too
        ours = np.where(rng.random(len(PAAF.pairs)) < 0.9, theirs, rng.random(len(PAAF.pairs)) < 0.4)
        passed += OVERALL not in refused(behaviour_reasons(run_with(ours), run_with(theirs), RULES))
    assert passed / 400 <= 0.08  # 5 %, and three standard errors of 400 draws


def test_a_small_suite_is_judged_by_what_was_seen() -> None:
    small = replace(PAAF, pairs=PAAF.pairs[:20])
    right = np.ones(20, dtype=bool)
    two_lost = np.arange(20) > 1
    assert refused(behaviour_reasons(run_with(right, small), run_with(right, small), RULES)) == set()
    worse = behaviour_reasons(run_with(two_lost, small), run_with(right, small), RULES)
    assert refused(worse) == {OVERALL, NEGATION}
    assert "too few for an interval" in worse[0].found


def test_without_a_champion_only_the_floor_is_asked() -> None:
    half = run_with(np.arange(len(PAAF.pairs)) % 2 == 0)
    assert behaviour_reasons(half, None, RULES) == []
    low, high = (
        behaviour_reasons(half, None, replace(RULES, behaviour_floor=floor))[0] for floor in (0.4, 0.49)
    )
    assert (low.passed, high.passed) == (True, False)  # the lower end counts, not the half that was right
    assert high.asked == "a lower end of at least 0.490"


def test_runs_of_two_suites_are_no_comparison() -> None:
    ours, theirs = run_with(everything()), run_with(everything(), replace(PAAF, tolerance=0.2))
    with pytest.raises(UnfitData, match="different behaviour suites"):
        behaviour_reasons(ours, theirs, RULES)


def test_the_reasons_can_be_recorded() -> None:
    reasons = behaviour_reasons(run_with(everything()), run_with(everything()), RULES)
    told = json.loads(json.dumps([asdict(reason) for reason in reasons]))
    assert {type(reason["passed"]) for reason in told} == {bool}


def test_the_lower_end_is_that_of_agresti_and_min() -> None:
    # 100 pairs, 10 gained, 4 lost: (6 - 1.6449 sqrt(15 - 36/102)) / 102
    assert lower_end_of_difference(10, 4, 100) == pytest.approx(-0.0028931, abs=1e-6)
    assert lower_end_of_difference(0, 0, 10_000) < 0
