"""Looks at one holdout: together they may err no more than one would have."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from benchmarks.promotion import START, Chain, Holdout, regressions, stays, worse_by_the_margin
from tasks.ml.judging.looks import error_left, error_of, next_look, sure_lower_end


def test_all_looks_together_err_no_more_than_the_total() -> None:
    spent = [error_of(look, 0.05) for look in range(1, 2001)]
    assert sum(spent) < 0.05
    assert sum(spent[:200]) + error_left(200, 0.05) == pytest.approx(0.05)
    assert spent == sorted(spent, reverse=True)


def test_looks_at_a_holdout_of_less_than_half_of_todays_patients_do_not_count() -> None:
    patients = {1: 40, 2: 49, 3: 50, 4: 90}
    assert next_look([1, 2, 3, 4], patients, 100) == 3
    assert next_look([], patients, 100) == 1
    assert next_look([7], patients, 100) == 1  # a snapshot without a holdout


def test_a_lower_end_is_right_as_often_as_it_says_far_beyond_what_draws_can_show() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(loc=1.0, scale=0.1, size=1000)
    assert sure_lower_end(1.0, draws, 0.05) == pytest.approx(1.0 - 1.645 * 0.1, abs=0.02)
    assert sure_lower_end(1.0, draws, 1e-6) == pytest.approx(1.0 - 4.753 * 0.1, abs=0.03)
    skewed = np.where(rng.random(1000) < 0.04, 0.0, 1.0)  # the spread alone would say .68
    assert sure_lower_end(0.96, skewed, 0.02) == 0.0
    assert sure_lower_end(1.0, np.full(1000, np.nan), 0.05) is None


def test_two_hundred_worse_challengers_get_through_where_looks_cost_nothing_and_not_where_they_do() -> None:
    """Few sequences here: `python -m benchmarks.promotion` reads two hundred."""
    worse = worse_by_the_margin()
    assert START.macro_f1 - worse.macro_f1 == pytest.approx(0.02, abs=1e-4)

    def gets_through(seed: int, protected: bool) -> bool:
        chain = Chain(Holdout(seed), protected)
        return any(islice((chain.night(worse) for _ in range(60)), 60))

    assert sum(gets_through(seed, protected=False) for seed in range(4)) >= 2
    assert not any(gets_through(seed, protected=True) for seed in range(4))


@pytest.mark.parametrize("kind", regressions())
def test_a_planted_regression_is_refused(kind: str) -> None:
    assert not Chain(Holdout(0)).night(regressions()[kind])


def test_small_steps_down_do_not_add_up() -> None:
    assert stays(0, protected=True, step=0.005)
