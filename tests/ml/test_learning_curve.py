"""What more labels would buy is foretold where it can be, and refused where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.ml.errors import UnfitData
from tasks.ml.labels.learning_curve import Curve, forecast, learning_curve, measured, reports_max
from tasks.ml.network.features import Vectors

Part = tuple[Vectors, np.typing.NDArray[np.int64], list[str]]
HIDDEN = 40


def part(reports: int, seed: int, apart: float) -> Part:
    """Two labels that `apart` standard deviations tell; one report a patient."""
    rng = np.random.default_rng(seed)
    labels_idx = rng.integers(2, size=reports)
    vectors = rng.normal(size=(reports, HIDDEN))
    vectors[:, 0] += apart * labels_idx
    return vectors.astype(np.float32), labels_idx, [f"{seed}-{number}" for number in range(reports)]


def first(taught: Part, reports: int) -> Part:
    return taught[0][:reports], taught[1][:reports], taught[2][:reports]


def test_what_was_foretold_comes_true_when_the_labels_come() -> None:
    taught, held = part(600, 1, 2.0), part(800, 2, 2.0)
    few = learning_curve(first(taught, 300), held, 2, repeats=6)
    means = [one.value for one in measured(few)]
    assert means[-1] > means[0] + 0.03
    told = forecast(few, 300)
    (later,) = learning_curve(taught, held, 2, repeats=6).scores.mean(axis=0)[-1:]
    assert told.score.low - 0.02 < later < told.score.high + 0.02
    assert told.gain.value > 0
    assert abs(told.check_error) < 0.03


def test_where_a_few_labels_teach_all_there_is_more_of_them_buy_nothing() -> None:
    easy = learning_curve(part(300, 3, 9.0), part(200, 4, 9.0), 2, repeats=4)
    assert forecast(easy, 300).gain.high < 0.01


def test_a_power_law_is_found_again() -> None:
    reports = np.array([100, 200, 350, 600, 1000])
    exact = Curve(reports, 1 - np.tile(0.05 + 2.0 * reports**-0.6, (4, 1)))
    told = forecast(exact, 500)
    assert told.score.value == pytest.approx(1 - (0.05 + 2.0 * 1500**-0.6), abs=1e-3)
    assert told.score.low == pytest.approx(told.score.high)
    assert told.check_error == pytest.approx(0, abs=2e-3)


def test_repeats_that_disagree_make_the_interval_wide() -> None:
    reports = np.array([100, 200, 350, 600, 1000])
    scores = 1 - np.tile(0.05 + 2.0 * reports**-0.6, (8, 1))
    noisy = Curve(reports, scores + np.random.default_rng(5).normal(0, 0.02, scores.shape))
    told = forecast(noisy, 500)
    assert told.score.high - told.score.low > 0.01


def test_no_forecast_reaches_beyond_twice_what_was_read() -> None:
    reports = np.array([100, 200, 350, 600, 1000])
    curve = Curve(reports, np.tile([0.6, 0.7, 0.75, 0.8, 0.82], (3, 1)))
    assert reports_max(curve) == 1000
    forecast(curve, 1000)
    with pytest.raises(UnfitData, match="at most 1,000"):
        forecast(curve, 1001)


def test_a_label_of_too_few_patients_is_refused_with_what_is_needed() -> None:
    with pytest.raises(UnfitData, match="needs 10 and 4"):
        learning_curve(first(part(600, 1, 2.0), 12), part(40, 2, 2.0), 2, repeats=3)


def test_a_rare_label_that_only_comes_beside_a_common_one_is_in_every_share_and_every_half() -> None:
    """Every patient's first report bears the common label: drawn by it, the rare one came in by chance."""

    def beside(reports: int, seed: int) -> Part:
        vectors, _, _ = part(reports, seed, 0.0)
        rare = np.arange(reports) % 20 == 19  # the second report of every tenth patient
        vectors[:, 0] += 9.0 * rare
        vectors[:, 1:] = 0
        return vectors, rare.astype(np.int64), [f"{seed}-{number // 2:04d}" for number in range(reports)]

    for seed in (2, 5):  # with which a share by chance held no report of it
        found = learning_curve(beside(400, 1), beside(240, 2), 2, repeats=3, seed=seed)
        assert found.reports[0] == 40
        assert found.scores.min() > 0.9
