"""A challenger is promoted only if it earned it, and every refusal says why."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.ml.errors import UnfitData
from tasks.ml.judging.promotion import judge
from tasks.ml.judging.rules import Rules, Verdict, rules_sha

LABELS = ["benigno", "maligno"]
RULES = Rules(n_boot=400)
FLOOR = 0.80


class Holdout:
    """120 patients with 5 reports each; a score that leans towards the truth."""

    def __init__(self, patients: int = 120, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.truth = np.repeat((np.arange(patients) % 3 == 0).astype(int), 5)
        self.patients = [f"p{report // 5}" for report in range(len(self.truth))]
        self.signal = rng.normal(size=len(self.truth)) + 4 * (self.truth - 0.5)
        self.baselines = {
            "majority": np.tile([2 / 3, 1 / 3], (len(self.truth), 1)),
            "keyword_rule": probabilities(rng.normal(size=len(self.truth))),
            "tfidf_word": probabilities(self.signal * 2),  # need not be beaten
        }

    def judge(
        self, challenger: np.ndarray, champion: np.ndarray | None, rules: Rules = RULES, floor: float = FLOOR
    ) -> Verdict:
        return judge(
            challenger,
            champion,
            self.baselines,
            self.truth,
            self.patients,
            LABELS,
            "maligno",
            rules,
            floor,
            0,
        )


def probabilities(logit: np.ndarray) -> np.ndarray:
    critical = 1 / (1 + np.exp(-logit))
    return np.stack([1 - critical, critical], axis=1)


def refused(verdict: Verdict) -> set[str]:
    return {reason.rule for reason in verdict.reasons if not reason.passed}


def test_a_good_first_model_is_promoted() -> None:
    holdout = Holdout()
    verdict = holdout.judge(probabilities(holdout.signal), None)
    assert verdict.promoted
    assert [reason.rule for reason in verdict.reasons] == [
        "enough patients",
        "sensitivity for maligno",
        "better than majority",
        "better than keyword rule",
    ]


def test_an_equal_challenger_is_accepted() -> None:
    holdout = Holdout()
    champion = probabilities(holdout.signal)
    assert holdout.judge(champion, champion).promoted
    jitter = np.random.default_rng(1).normal(scale=0.05, size=len(holdout.signal))
    assert holdout.judge(probabilities(holdout.signal + jitter), champion).promoted


def test_a_challenger_trained_on_shuffled_labels_is_refused() -> None:
    rng = np.random.default_rng(5)
    holdout = Holdout()
    train_truth = rng.integers(2, size=500)
    train = rng.normal(size=(500, 1)) + 4 * (train_truth[:, None] - 0.5)
    honest = LogisticRegression().fit(train, train_truth).predict_proba(holdout.signal[:, None])
    poisoned = (
        LogisticRegression().fit(train, rng.permutation(train_truth)).predict_proba(holdout.signal[:, None])
    )
    assert holdout.judge(honest, None).promoted
    verdict = holdout.judge(poisoned, honest)
    assert not verdict.promoted
    assert "not worse than the champion overall" in refused(verdict)


def test_a_challenger_that_misses_the_critical_label_is_refused_though_accurate_elsewhere() -> None:
    holdout = Holdout()
    champion = probabilities(holdout.signal)
    cautious = probabilities(np.where(holdout.truth == 1, holdout.signal - 2.5, holdout.signal - 6))
    verdict = holdout.judge(cautious, champion)
    assert refused(verdict) >= {"sensitivity for maligno", "not worse than the champion on maligno"}
    assert "not worse than the champion on benigno" not in refused(verdict)


def test_an_alarmist_challenger_is_refused_for_the_other_label() -> None:
    holdout = Holdout()
    verdict = holdout.judge(probabilities(holdout.signal + 2), probabilities(holdout.signal))
    assert "not worse than the champion on benigno" in refused(verdict)
    assert "sensitivity for maligno" not in refused(verdict)


def test_too_few_patients_decide_nothing_however_many_reports_they_have() -> None:
    holdout = Holdout(patients=18)
    verdict = holdout.judge(probabilities(holdout.signal * 3), None)
    (reason,) = [reason for reason in verdict.reasons if reason.rule == "enough patients"]
    assert not reason.passed
    assert reason.sentence == (
        "enough patients: the holdout holds 18 patients (90 reports); asked: at least 20 patients"
    )


def test_the_sensitivity_floor_is_asked_of_the_lower_end_and_not_of_the_value() -> None:
    holdout = Holdout()
    value = (holdout.signal[holdout.truth == 1] > 0).mean()
    verdict = holdout.judge(probabilities(holdout.signal), None, floor=value - 0.002)
    assert refused(verdict) == {"sensitivity for maligno"}


def test_no_report_of_the_critical_label_means_no_promotion() -> None:
    holdout = Holdout()
    holdout.truth[:] = 0
    verdict = holdout.judge(probabilities(holdout.signal), None)
    assert "the holdout holds no report of maligno" in {
        reason.found for reason in verdict.reasons if not reason.passed
    }


def test_a_model_no_better_than_a_trivial_baseline_is_refused_unless_the_rules_say_otherwise() -> None:
    holdout = Holdout()
    model = probabilities(holdout.signal)
    holdout.baselines["keyword_rule"] = model
    assert refused(holdout.judge(model, None)) == {"better than keyword rule"}
    assert holdout.judge(model, None, rules=replace(RULES, beat_baselines=False)).promoted


def test_a_missing_baseline_is_an_error_and_not_a_pass() -> None:
    holdout = Holdout()
    del holdout.baselines["majority"]
    with pytest.raises(UnfitData, match="majority"):
        holdout.judge(probabilities(holdout.signal), None)


def test_a_margin_lost_many_times_over_is_refused_nearly_always() -> None:
    passed = 0
    for seed in range(30):
        holdout = Holdout(seed=seed)
        champion = probabilities(holdout.signal)
        flip = np.random.default_rng(seed).random(len(holdout.truth)) < 0.06  # some 6 points worse
        worse = probabilities(np.where(flip, -holdout.signal, holdout.signal))
        passed += holdout.judge(worse, champion, floor=0.5).promoted
    assert passed == 0


def test_a_label_of_two_patients_is_judged_by_what_was_seen_and_one_of_none_passes() -> None:
    labels = ["a", "b", "c", "d"]
    truth = np.array([0] * 50 + [1] * 50 + [2, 2])
    patients = [f"p{number}" for number in range(len(truth))]
    champion = np.eye(4)[truth] * 0.7 + 0.075
    missing_one = champion.copy()
    missing_one[-1] = champion[0]
    trivial = dict.fromkeys(("majority", "keyword_rule"), np.full((len(truth), 4), 0.25))
    verdicts = [
        judge(model, champion, trivial, truth, patients, labels, "a", RULES, 0.5, 0)
        for model in (champion, missing_one)
    ]
    equal, worse = verdicts
    assert equal.promoted
    assert "not worse than the champion on c" in refused(worse)
    (never_seen,) = [reason for reason in equal.reasons if reason.rule.endswith("on d")]
    assert never_seen.found == "the holdout holds no report of it, so nothing can be said"


def test_the_reasons_can_be_recorded_however_few_the_patients() -> None:
    labels, truth = ["a", "b"], np.array([0] * 30 + [1, 1])
    champion = np.eye(2)[truth] * 0.8 + 0.1
    trivial = dict.fromkeys(("majority", "keyword_rule"), np.full((len(truth), 2), 0.5))
    patients = [f"p{number}" for number in range(len(truth))]
    verdict = judge(champion, champion, trivial, truth, patients, labels, "a", RULES, 0.5, 0)
    told = json.loads(json.dumps([asdict(reason) for reason in verdict.reasons]))
    assert any("on 2 patients" in reason["found"] for reason in told)
    assert {type(reason["passed"]) for reason in told} == {bool}


def test_the_rules_sha_moves_with_every_rule_and_with_nothing_else() -> None:
    sha = rules_sha(RULES, "maligno", FLOOR)
    changed = [
        rules_sha(replace(RULES, margin=0.03), "maligno", FLOOR),
        rules_sha(replace(RULES, class_margin=0.01), "maligno", FLOOR),
        rules_sha(replace(RULES, holdout_patients_min=21), "maligno", FLOOR),
        rules_sha(replace(RULES, beat_baselines=False), "maligno", FLOOR),
        rules_sha(replace(RULES, behaviour_margin=0.03), "maligno", FLOOR),
        rules_sha(replace(RULES, negation_margin=0.02), "maligno", FLOOR),
        rules_sha(replace(RULES, behaviour_floor=0.5), "maligno", FLOOR),
        rules_sha(replace(RULES, fairness_margin=0.1), "maligno", FLOOR),
        rules_sha(RULES, "maligno", FLOOR, "the sha of a suite"),
        rules_sha(RULES, "benigno", FLOOR),
        rules_sha(RULES, "maligno", 0.81),
    ]
    assert len({sha, *changed}) == 12
    assert rules_sha(Rules(n_boot=400), "maligno", FLOOR) == sha
    holdout = Holdout()
    assert holdout.judge(probabilities(holdout.signal), None).rules_sha == sha
