"""A model that is worse on a part of the holdout is seen to be, and a part too small to tell is marked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pytest

from tasks.ml.judging.evaluation import Figure, evaluate
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.net_benefit import THRESHOLDS, net_benefit_figures
from tasks.ml.judging.recalibration import Calibration, clearly_better, compared, recalibrated
from tasks.ml.judging.slice_fields import OTHERS, VALUES_MAX, Field, fields_of, length_of, months
from tasks.ml.judging.slices import SMALL_CRITICAL, slice_figures
from tasks.ml.pages.document import as_markdown
from tasks.ml.pages.report_slices import benefit_blocks, calibration_blocks, slice_blocks

LABELS = ["benigno", "maligno"]
REPORTS = 600
Figures = dict[tuple[str, str], Figure]


def by_name(figures: list[Figure]) -> Figures:
    return {(figure.name, figure.slice): figure for figure in figures}


def holdout(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Probabilities of a good model, truth, and patients of three reports each."""
    rng = np.random.default_rng(seed)
    truth = np.repeat((rng.random(REPORTS // 3) < 0.4).astype(int), 3)
    critical = 1 / (1 + np.exp(-(rng.normal(0, 1, REPORTS) + 4 * truth - 2)))
    return np.stack([1 - critical, critical], axis=1), truth, [f"p{n // 3}" for n in range(REPORTS)]


def sliced(
    change: Callable[[np.ndarray, np.ndarray, np.ndarray], None],
    *fields: Field,
    sent: np.ndarray | None = None,
) -> Figures:
    """Figures by three institutions, each with a report of every patient, and by further fields."""
    probs, truth, patients = holdout()
    where = np.arange(REPORTS) % 3
    change(probs, truth, where)
    cut = Field("institution", [("norte", "sul", "oeste")[n] for n in where])
    given = Sample.of(probs, truth, patients, 2)
    to_person = np.zeros(REPORTS, np.bool_) if sent is None else sent
    return by_name(slice_figures(given, [cut, *fields], LABELS, "maligno", to_person, n_boot=200, seed=0))


def test_a_slice_that_is_missed_is_seen_and_the_others_stay_as_they_are() -> None:
    def miss(probs: np.ndarray, truth: np.ndarray, where: np.ndarray) -> None:
        probs[(where == 1) & (truth == 1)] = [0.9, 0.1]

    sound, broken = sliced(lambda *_: None), sliced(miss)
    assert broken["sensitivity", "institution=sul"].value == 0.0
    low = sound["sensitivity", "institution=sul"].low
    assert low is not None
    assert low > 0.8
    for name in ("norte", "oeste"):
        assert broken["sensitivity", f"institution={name}"] == sound["sensitivity", f"institution={name}"]


def test_a_slice_s_figures_are_those_of_its_reports_alone() -> None:
    probs, truth, patients = holdout()
    inside = np.arange(REPORTS) % 3 == 2
    ours = sliced(lambda *_: None)
    alone = by_name(
        evaluate(
            probs[inside], truth[inside], [p for p, i in zip(patients, inside, strict=True) if i], LABELS,
            "maligno", n_boot=200, seed=0,
        )
    )  # fmt: skip
    for name in ("sensitivity", "specificity", "auroc_report", "ece", "brier", "f1_macro"):
        # every patient has one report in it: the same patients, and so the same draws
        assert ours[name, "institution=oeste"].value == pytest.approx(alone[name, "all"].value)
        assert ours[name, "institution=oeste"].low == pytest.approx(alone[name, "all"].low)


def test_a_small_slice_is_marked_and_shown() -> None:
    few = Field("month", ["2026-01" if n < 15 else "2026-02" for n in range(REPORTS)])
    found = sliced(lambda *_: None, few)
    assert (found["small", "month=2026-01"].value, found["small", "month=2026-02"].value) == (1, 0)
    assert found["patients", "month=2026-01"].value == 5
    page = as_markdown(slice_blocks(list(found.values()), "maligno"))
    assert "| month: 2026-01 † | 15 (5) |" in page
    assert "| month: 2026-02 | 585 (195) |" in page
    assert f"or {SMALL_CRITICAL} with a report of maligno" in page


def test_what_goes_to_a_person_is_told_slice_by_slice() -> None:
    sent = np.arange(REPORTS) % 3 == 0
    found = sliced(lambda *_: None, sent=sent)
    assert found["review_share", "all"].value == pytest.approx(1 / 3)
    assert found["review_share", "institution=norte"].value == 1
    assert found["review_share", "institution=sul"].value == 0


def test_what_all_reports_share_cuts_nothing_and_rare_values_are_judged_together() -> None:
    texts = [f"MATERIAL: punção {'com detalhe ' * (n % 30)}" for n in range(120)]
    found = fields_of(texts, [f"s{n % 40}" for n in range(120)], ["source"] * 120, [None] * 120)
    named = {field.name: field for field in found}
    assert set(named) == {"institution", "length"}
    assert len(set(named["institution"].values)) == VALUES_MAX + 1
    assert OTHERS in named["institution"].values


def test_sections_lengths_and_months_are_read_from_what_the_reports_hold() -> None:
    with_end = "MATERIAL: punção.\n\nMICROSCOPIA: células.\n\nConclusão: benigno."
    without = "MATERIAL: punção.\n\nMICROSCOPIA: células benignas, nada a concluir."
    found = fields_of([with_end, without], ["a", "a"], ["source"] * 2, [date(2026, 1, 31), date(2019, 5, 1)])
    assert {field.name: list(field.values) for field in found} == {
        "section conclusion": ["present", "absent"],
        "month": ["2026-01", "2019"],
    }
    assert [length_of("a " * words) for words in (50, 51, 401)] == [
        "1-50 words", "51-150 words", "401 words and more",
    ]  # fmt: skip
    assert months([None]) == [None]


# ------------------------------------------------------------------ what acting on it is worth


def benefits(probs: np.ndarray, truth: np.ndarray) -> Figures:
    given = Sample.of(probs, truth, [f"p{n // 3}" for n in range(len(truth))], 2)
    return by_name(net_benefit_figures(given, 1, n_boot=200, seed=0))


def test_net_benefit_is_what_vickers_and_elkin_define() -> None:
    probs, truth, _ = holdout()
    found = benefits(probs, truth)
    for at in THRESHOLDS:
        acted = probs[:, 1] >= at
        price = at / (1 - at)
        expected = (acted & (truth == 1)).mean() - (acted & (truth == 0)).mean() * price
        every = truth.mean() - (1 - truth.mean()) * price
        assert found["net_benefit", f"threshold={at:g}"].value == pytest.approx(expected)
        assert found["net_benefit_every", f"threshold={at:g}"].value == pytest.approx(every)


def test_a_good_model_gains_and_one_that_guesses_does_not() -> None:
    probs, truth, _ = holdout()
    low = benefits(probs, truth)["net_benefit_gain", "threshold=0.3"].low
    assert low is not None
    assert low > 0
    guessed = np.random.default_rng(1).permutation(probs)
    value = benefits(guessed, truth)["net_benefit_gain", "threshold=0.3"].value
    assert value is not None
    assert value < 0
    page = as_markdown(benefit_blocks(list(benefits(probs, truth).values()), "maligno", None))
    assert "| 0.05 | 19 |" in page


# ------------------------------------------------------------------ other calibrations


def recalibrations(distort: Callable[[np.ndarray], np.ndarray]) -> dict[str, list[Figure]]:
    """Half of 6,000 reports calibrate, half judge; `distort` is what the model does to true log odds."""
    rng = np.random.default_rng(2)
    odds = rng.normal(0, 2, 6000)
    truth = (rng.random(6000) < 1 / (1 + np.exp(-odds))).astype(int)
    critical = 1 / (1 + np.exp(-distort(odds)))
    probs = np.stack([1 - critical, critical], axis=1)
    others = recalibrated(Calibration(probs[:3000], truth[:3000]), probs[3000:], 1.0)
    shipped = Sample.of(probs[3000:], truth[3000:], [f"p{n}" for n in range(3000)], 2)
    return dict(compared(shipped, others, n_boot=200, seed=0))


def test_a_shift_that_no_temperature_mends_is_mended_by_platt_and_by_isotonic() -> None:
    found = recalibrations(lambda odds: odds + 1.5)
    assert clearly_better(found["platt"])
    assert clearly_better(found["isotonic"])
    ours = [Figure("ece", "all", 0.2, 0.1, 0.3, 9), Figure("brier", "all", 0.2, 0.1, 0.3, 9)]
    page = as_markdown(calibration_blocks({"model": ours, **found}))
    assert "Clearly better than the temperature, in both figures: Platt" in page


def test_nothing_is_clearly_better_than_probabilities_that_are_right() -> None:
    found = recalibrations(lambda odds: odds)
    assert not any(clearly_better(figures) for figures in found.values())


def test_without_its_temperature_a_model_is_as_it_came_out_of_the_fit() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 3))

    def softmax(of: np.ndarray) -> np.ndarray:
        return np.exp(of) / np.exp(of).sum(axis=1, keepdims=True)

    shipped = softmax(logits / 1.7)
    calibration = Calibration(shipped, np.arange(20) % 3)
    found = recalibrated(calibration, shipped, 1.7)
    assert found["uncalibrated"] == pytest.approx(softmax(logits))
    for probs in found.values():
        assert probs.sum(axis=1) == pytest.approx(np.ones(20))
