"""Many looks at one holdout are paid for: how much of the error each comparison may spend.

A challenger a night is compared on the same patients. Were each comparison allowed to err in 5 of 100, some
challenger that is worse would get through within weeks. So the error is spent: the k-th look may err with
total / (k (k + 1)), and all looks together, however many, with no more than the total, for these shares add
up to it. The idea of spending: Lan & DeMets 1983, "Discrete sequential boundaries for clinical trials"
(Biometrika 70:659). That it holds however the looks depend on each other: Bonferroni's inequality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Final

import numpy as np

from tasks.ml.arrays import Floats
from tasks.ml.judging.resampling import DEFINED_SHARE

DRAWS_BEYOND: Final = 10  # so many draws must lie beyond an end for the draws alone to place it
POWER: Final = 0.8  # of what a plan is said to see
WORN_SHARE: Final = 0.5  # a holdout of fewer patients than this share of today's is another holdout


def error_of(look: int, total: float) -> float:
    """What the k-th look (1, 2, ...) may err with."""
    return total / (look * (look + 1))


def error_left(looks: int, total: float) -> float:
    """What is left for all later looks after so many."""
    return total / (looks + 1)


def next_look(past_holdouts: Sequence[int], patients: Mapping[int, int], now: int) -> int:
    """The number of the look that comes: 1 for the first.

    past_holdouts: the snapshot of every comparison so far; patients: how many its holdout held; now: how
    many today's holds. A patient stays in the holdout for ever, so a smaller holdout is a part of today's;
    looks at one of less than half its size say little about the patients there are now, and do not count.
    """
    return 1 + sum(patients.get(snapshot, 0) >= WORN_SHARE * now for snapshot in past_holdouts)


def sure_lower_end(observed: float, draws: Floats, error: float) -> float | None:
    """The lower end of a one-sided interval of a difference, right with 1 - error.

    draws: (draws,) of the difference over resampled patients. From the draws where enough of them lie
    beyond, and from their spread by the normal distribution; the lower of both. None where more than one
    draw in a hundred is undefined.
    """
    defined = draws[~np.isnan(draws)]
    if defined.size == 0 or defined.size < DEFINED_SHARE * draws.size:
        return None
    low = observed - NormalDist().inv_cdf(1 - error) * float(defined.std())
    if error * defined.size >= DRAWS_BEYOND:
        low = min(low, float(np.quantile(defined, error)))
    return low


def least_gain(patients: Sequence[int], margin: float, error: float, disagree: float) -> float:
    """How much better a challenger must truly be to get through four times in five; below 0, how much worse
    it may be.

    patients: of each label whose recall is averaged (one: the recall of that label). disagree: the share of
    them that champion and challenger answer differently, which is what a paired difference varies by.
    """
    spread = sqrt(sum(disagree / n for n in patients)) / len(patients)
    sure = NormalDist()
    return (sure.inv_cdf(1 - error) + sure.inv_cdf(POWER)) * spread - margin
