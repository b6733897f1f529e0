"""Draw patients, not reports: how sure a figure is when a patient has several reports.

The reports of one patient resemble each other, so drawing reports one by one would claim more certainty
than there is. A draw gives each patient a whole-number weight (how often it was drawn), and every figure
is computed from weights: no text or probability is ever copied. Source: Davison & Hinkley 1997,
"Bootstrap Methods and their Application", section 3.8 (hierarchical data).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from tasks.ml.arrays import Floats

BLOCK_CELLS: Final = 2_000_000  # draws x reports held at once: 16 MB a float64 array
# A figure that one draw in a hundred cannot compute (a class absent from it) stands on fewer than
# about five patients; an interval over the draws that happen to hold them would look too narrow
DEFINED_SHARE: Final = 0.99
ROUNDING: Final = 1e-12  # sums of the same numbers in another order differ by less
Z_95: Final = 1.959963984540054  # standard normal, two-sided 95 %


def patient_weights(n_patients: int, n_reports: int, n_boot: int, seed: int) -> Iterator[Floats]:
    """Blocks of weights, (draws, patients). The very first row is all ones: the holdout as it is.

    The same seed gives the same draws, so two models compared under it are compared on the same patients.
    """
    yield np.ones((1, n_patients))
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK_CELLS // max(n_reports, 1))
    for start in range(0, n_boot, block):
        rows = min(block, n_boot - start)
        drawn = rng.integers(n_patients, size=(rows, n_patients))
        drawn += np.arange(rows)[:, None] * n_patients
        counts = np.bincount(drawn.ravel(), minlength=rows * n_patients)
        yield counts.reshape(rows, n_patients).astype(np.float64)


def interval(draws: Floats, level: float = 0.95) -> tuple[float, float] | None:
    """The percentile interval over draws, NaN where a draw could not compute it.

    None where more than one draw in a hundred could not.
    """
    defined = draws[~np.isnan(draws)]
    if defined.size == 0 or defined.size < DEFINED_SHARE * draws.size:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]).tolist()
    if high - low < ROUNDING:
        low = high = round(low, 12)  # a difference of -1e-17 is none
    return low, high


def share_interval(share: float, draws: Floats, patients: int) -> tuple[float, float] | None:
    """`interval` for a share of cases, or Wilson's with each of `patients` counted once where every draw
    agrees: when all are right (or all wrong), zero width would claim certainty from however few patients.
    """
    ends = interval(draws)
    return wilson(share, patients) if ends is not None and ends[0] == ends[1] else ends


def lower_end(draws: Floats, error: float = 0.05) -> float | None:
    """The lower end of a one-sided interval: `interval` with all of the error on one side."""
    both_sides = interval(draws, level=1 - 2 * error)
    return None if both_sides is None else both_sides[0]


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share of n independent cases (Wilson 1927, JASA 22:209)."""
    centre = share + Z_95**2 / (2 * n)
    half = Z_95 * np.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    scale = 1 + Z_95**2 / n
    return max(0.0, float((centre - half) / scale)), min(1.0, float((centre + half) / scale))
