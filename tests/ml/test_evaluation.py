"""Every figure against scikit-learn, and intervals that keep their promise over patients."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from tasks.ml.errors import UnfitData
from tasks.ml.judging.evaluation import Figure, evaluate
from tasks.ml.judging.measures import ECE_BINS
from tasks.ml.judging.ranking import ranked_areas
from tasks.ml.judging.resampling import patient_weights

Answers = tuple[np.ndarray, np.ndarray, list[str]]


def answers(reports: int, labels: int, *, per_patient: int = 1, skill: float = 1.5, seed: int = 0) -> Answers:
    """Probabilities, truth and patients of a middling model; a patient's reports share their label."""
    rng = np.random.default_rng(seed)
    of_patient = np.arange(reports) // per_patient
    truth = rng.integers(labels, size=reports)[of_patient]
    logits = rng.normal(size=(reports, labels)) + skill * np.eye(labels)[truth]
    odds = np.exp(np.round(logits, 1))  # rounded: equal scores must be dealt with
    return odds / odds.sum(axis=1, keepdims=True), truth, [f"p{patient}" for patient in of_patient]


def by_name(figures: list[Figure]) -> dict[tuple[str, str], Figure]:
    return {(figure.name, figure.slice): figure for figure in figures}


def test_figures_for_two_labels_equal_scikit_learns() -> None:
    probs, truth, patients = answers(400, 2)
    said, score = probs.argmax(axis=1), probs[:, 1]
    found = by_name(evaluate(probs, truth, patients, ["benigno", "maligno"], "maligno", n_boot=20, seed=0))
    expected = {
        ("accuracy", "all"): metrics.accuracy_score(truth, said),
        ("precision_macro", "all"): metrics.precision_score(truth, said, average="macro"),
        ("recall_macro", "all"): metrics.recall_score(truth, said, average="macro"),
        ("f1_macro", "all"): metrics.f1_score(truth, said, average="macro"),
        ("sensitivity", "all"): metrics.recall_score(truth, said),
        ("specificity", "all"): metrics.recall_score(truth, said, pos_label=0),
        ("auroc_report", "all"): metrics.roc_auc_score(truth, score),
        ("auprc_report", "all"): metrics.average_precision_score(truth, score),
        ("brier", "all"): metrics.brier_score_loss(truth, score),
        ("precision", "label=maligno"): metrics.precision_score(truth, said),
        ("recall", "label=benigno"): metrics.recall_score(truth, said, pos_label=0),
        ("f1", "label=maligno"): metrics.f1_score(truth, said),
    }
    assert {key: found[key].value for key in expected} == pytest.approx(expected)
    confusion = metrics.confusion_matrix(truth, said)
    assert found["confusion", "true=maligno said=benigno"].value == confusion[1, 0]
    assert found["sensitivity", "all"].n == (truth == 1).sum()


def test_figures_for_many_labels_equal_scikit_learns_over_the_labels_that_occur() -> None:
    probs, truth, patients = answers(600, 5)
    truth[truth == 3] = 4  # label d never occurs, though the model names it
    labels = list("abcde")
    occur = [0, 1, 2, 4]
    said = probs.argmax(axis=1)
    found = by_name(evaluate(probs, truth, patients, labels, "b", n_boot=20, seed=0))
    kept = {"labels": occur, "average": "macro", "zero_division": 0}
    aurocs = [metrics.roc_auc_score(truth == k, probs[:, k]) for k in occur]
    assert found["f1_macro", "all"].value == pytest.approx(metrics.f1_score(truth, said, **kept))
    assert found["precision_macro", "all"].value == pytest.approx(
        metrics.precision_score(truth, said, **kept)
    )
    assert found["recall_macro", "all"].value == pytest.approx(metrics.recall_score(truth, said, **kept))
    assert found["auroc_report", "all"].value == pytest.approx(np.mean(aurocs))
    assert found["auroc_report", "label=c"].value == pytest.approx(aurocs[2])
    assert found["brier", "all"].value == pytest.approx(
        metrics.brier_score_loss(truth, probs, labels=range(5), scale_by_half=False)
    )
    assert found["recall", "label=d"] == Figure("recall", "label=d", None, None, None, 0)
    assert found["auroc_report", "label=d"].value is None
    assert found["precision", "label=d"].value == 0.0


def test_expected_calibration_error_is_that_of_fifteen_equal_bins() -> None:
    probs, truth, patients = answers(500, 3)
    sure, right = probs.max(axis=1), probs.argmax(axis=1) == truth
    expected = 0.0
    for number in range(ECE_BINS):
        inside = (sure > number / ECE_BINS) & (sure <= (number + 1) / ECE_BINS)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    found = by_name(evaluate(probs, truth, patients, list("abc"), "a", n_boot=5, seed=0))
    assert found["ece", "all"].value == pytest.approx(expected)


def test_areas_under_weights_equal_scikit_learns_with_sample_weight() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        scores = np.round(rng.random(60), 1)
        positive = rng.random(60) < 0.3
        weights = rng.integers(0, 4, size=(3, 60)).astype(float)
        aurocs, precisions = ranked_areas(scores, positive, weights)
        for row, auroc, precision in zip(weights, aurocs, precisions, strict=True):
            assert auroc == pytest.approx(metrics.roc_auc_score(positive, scores, sample_weight=row))
            expected = metrics.average_precision_score(positive, scores, sample_weight=row)
            assert precision == pytest.approx(expected)


def test_a_draw_without_the_label_leaves_its_area_undefined_and_not_zero() -> None:
    scores, positive = np.array([0.9, 0.4, 0.1]), np.array([True, False, False])
    without_positives, without_negatives = [0.0, 1.0, 2.0], [3.0, 0.0, 0.0]
    aurocs, _ = ranked_areas(scores, positive, np.array([without_positives, without_negatives]))
    assert np.isnan(aurocs).all()


def test_a_patient_counts_once_by_the_mean_of_the_reports() -> None:
    probs, truth, patients = answers(300, 2, per_patient=5)
    means = probs.reshape(60, 5, 2).mean(axis=1)
    found = by_name(evaluate(probs, truth, patients, ["b", "m"], "m", n_boot=20, seed=0))
    expected = metrics.roc_auc_score(truth[::5], means[:, 1])
    assert found["auroc_patient", "all"].value == pytest.approx(expected)
    assert found["auroc_patient", "all"].n == 60
    expected = metrics.recall_score(truth[::5], means.argmax(axis=1))
    assert found["sensitivity_patient", "all"].value == pytest.approx(expected)


def test_a_model_that_says_the_same_of_all_ranks_patients_like_a_coin() -> None:
    reports_of = np.random.default_rng(1).integers(1, 12, size=60)
    truth = np.repeat(np.arange(60) % 3 == 0, reports_of).astype(int)
    patients = [f"p{patient}" for patient in np.repeat(np.arange(60), reports_of)]
    same = np.tile([1 - 0.3627, 0.3627], (len(truth), 1))
    found = by_name(evaluate(same, truth, patients, ["b", "m"], "m", n_boot=200, seed=0))
    area = found["auroc_patient", "all"]
    assert (area.value, area.low, area.high) == (0.5, None, None)
    assert found["auprc_patient", "all"].value == pytest.approx(20 / 60)


def test_a_patient_with_two_truths_is_left_out_of_the_figures_per_patient_only() -> None:
    probs, truth, patients = answers(300, 2, per_patient=5)
    truth[0] = 1 - truth[0]
    found = by_name(evaluate(probs, truth, patients, ["b", "m"], "m", n_boot=20, seed=0))
    assert found["accuracy_patient", "all"].n == 59
    assert found["accuracy", "all"].n == 300


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    probs, truth, patients = answers(200, 2)
    once, again, other = (
        evaluate(probs, truth, patients, ["b", "m"], "m", n_boot=50, seed=seed) for seed in (1, 1, 2)
    )
    assert once == again
    assert [figure.value for figure in once] == [figure.value for figure in other]
    assert once != other


def test_the_order_of_reports_changes_no_figure() -> None:
    probs, truth, patients = answers(200, 3, per_patient=4)
    mixed = np.random.default_rng(0).permutation(200)
    straight = evaluate(probs, truth, patients, list("abc"), "a", n_boot=30, seed=0)
    shuffled = evaluate(
        probs[mixed], truth[mixed], [patients[i] for i in mixed], list("abc"), "a", n_boot=30, seed=0
    )
    for one, two in zip(straight, shuffled, strict=True):
        assert (one.value, one.low, one.high, one.n) == pytest.approx((two.value, two.low, two.high, two.n))


def test_a_label_of_three_patients_has_a_recall_but_no_interval() -> None:
    probs, truth, patients = answers(200, 2)
    truth[:] = 0
    truth[:3] = 1
    probs[0] = [0.1, 0.9]
    found = by_name(evaluate(probs, truth, patients, ["b", "m"], "m", n_boot=200, seed=0))
    assert found["recall", "label=m"].value is not None
    assert found["recall", "label=m"].low is None
    assert found["recall", "label=m"].n == 3
    assert found["recall", "label=b"].low is not None


def test_all_right_on_a_few_patients_is_not_taken_for_certainty() -> None:
    truth = np.repeat([0, 1], 100)
    patients = [f"p{report // 10}" for report in range(200)]  # 10 patients a label, 10 reports each
    found = by_name(evaluate(np.eye(2)[truth], truth, patients, ["b", "m"], "m", n_boot=200, seed=0))
    sensitivity = found["sensitivity", "all"]
    assert (sensitivity.value, sensitivity.high) == pytest.approx((1.0, 1.0))
    assert sensitivity.low == pytest.approx(10 / (10 + 1.959964**2))  # Wilson's, 10 patients
    assert found["auroc_report", "all"].low is None


def test_weights_draw_as_many_patients_as_there_are() -> None:
    blocks = list(patient_weights(50, 100_000, n_boot=70, seed=0))
    assert len(blocks) > 2  # held in blocks where the holdout is large
    drawn = np.concatenate(blocks)
    assert drawn.shape == (71, 50)
    assert (drawn[0] == 1).all()
    assert (drawn.sum(axis=1) == 50).all()


def coverage(patients_known: bool, *, studies: int = 150) -> tuple[float, float]:
    """How often the interval for accuracy holds the true one, and its mean width, where patients differ:
    for some nearly every report is read right, for others hardly any."""
    rng = np.random.default_rng(7)
    held, widths = 0, []
    for study in range(studies):
        n_patients, each = 50, 8
        ease = np.repeat(rng.beta(2, 1, size=n_patients), each)  # true accuracy 2 / 3
        right = rng.random(n_patients * each) < ease
        truth = rng.integers(2, size=len(right))
        probs = np.eye(2)[np.where(right, truth, 1 - truth)]
        groups = np.repeat(np.arange(n_patients), each) if patients_known else np.arange(len(right))
        figures = evaluate(probs, truth, groups.astype(str).tolist(), ["b", "m"], "m", n_boot=200, seed=study)
        accuracy = by_name(figures)["accuracy", "all"]
        assert accuracy.low is not None
        assert accuracy.high is not None
        held += accuracy.low <= 2 / 3 <= accuracy.high
        widths.append(accuracy.high - accuracy.low)
    return held / studies, float(np.mean(widths))


def test_intervals_over_patients_hold_the_truth_where_intervals_over_reports_do_not() -> None:
    over_patients, wide = coverage(patients_known=True)
    over_reports, narrow = coverage(patients_known=False)
    assert over_patients >= 0.90
    assert over_reports <= 0.85  # the control: reports taken for patients of their own
    assert wide > 1.3 * narrow


@pytest.mark.parametrize(
    ("probs", "truth", "patients", "told"),
    [
        (np.zeros((0, 2)), [], [], "holdout is empty"),
        (np.ones((2, 3)) / 3, [0, 1], ["a", "b"], "do not fit together"),
        (np.ones((2, 2)) / 2, [0, 1], ["a"], "do not fit together"),
        (np.ones((2, 2)), [0, 1], ["a", "b"], "sum to one"),
        (np.full((2, 2), np.nan), [0, 1], ["a", "b"], "finite"),
        (np.ones((2, 2)) / 2, [0, 2], ["a", "b"], "0..1"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_words(
    probs: np.ndarray, truth: list[int], patients: list[str], told: str
) -> None:
    with pytest.raises(UnfitData, match=told):
        evaluate(probs, truth, patients, ["b", "m"], "m", n_boot=5, seed=0)
