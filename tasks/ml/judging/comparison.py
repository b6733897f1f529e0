"""One model against another on the same holdout: what each rule of the comparison finds.

Both are measured under the same draws of patients, so that what they have in common falls out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from tasks.ml.arrays import Bools, Floats
from tasks.ml.judging.looks import sure_lower_end
from tasks.ml.judging.measures import Sample, Shares, Tally, gap_by_bin
from tasks.ml.judging.resampling import interval, patient_weights
from tasks.ml.judging.rules import Reason, Rules

SAME_DATA = ", for no data are newer than the champion's"


@dataclass(frozen=True)
class Measured:
    """A model's figures: first on the holdout itself, then one a draw. `ece`: (1 + draws,)."""

    shares: Shares
    ece: Floats


def measured(given: Sample, draws: Sequence[Floats]) -> Measured:
    """Under blocks of (draws, patients) weights, of which the very first row is all ones."""
    tally = Tally.of(given)
    blocks = [tally.shares(weights) for weights in draws]
    stacked = {
        field.name: np.concatenate([getattr(one, field.name) for one in blocks]) for field in fields(Shares)
    }
    gap, reports = given.per_patient(gap_by_bin(given)), tally.true.sum(axis=1)
    ece = [np.abs(weights @ gap).sum(axis=1) / (weights @ reports) for weights in draws]
    return Measured(Shares(**stacked), np.concatenate(ece))


def compared(
    name: str,
    ours: Measured,
    theirs: Measured,
    given: Sample,
    labels: Sequence[str],
    rules: Rules,
    error: float,
    *,
    newer: bool = True,
) -> list[Reason]:
    """What the rules say of ours against `name`; each comparison errs with at most `error`.

    newer: not worse by the margin is enough; otherwise ours must be superior in macro F1.
    """
    return [
        _overall(name, ours, theirs, rules, error) if newer else better(name, ours, theirs, error, SAME_DATA),
        *(
            _recall(
                f"not worse than {name} on {label}",
                ours.shares.recall[:, index],
                theirs.shares.recall[:, index],
                given.truth == index,
                given,
                rules,
                error,
            )
            for index, label in enumerate(labels)
        ),
        _calibration(name, ours, theirs, rules, error),
    ]


def _overall(name: str, ours: Measured, theirs: Measured, rules: Rules, error: float) -> Reason:
    low = lower_end_of(ours.shares.macro_f1 - theirs.shares.macro_f1, error)
    return Reason(
        rule=f"not worse than {name} overall",
        passed=low is not None and low >= -rules.margin,
        found=told("macro F1", ours.shares.macro_f1, theirs.shares.macro_f1, low),
        asked=f"a lower end of at least {-rules.margin:+.3f}",
    )


def better(name: str, ours: Measured, theirs: Measured, error: float, why: str = "") -> Reason:
    """Superior in macro F1; `why` more than not being worse is asked for."""
    low = lower_end_of(ours.shares.macro_f1 - theirs.shares.macro_f1, error)
    return Reason(
        rule=f"better than {name}",
        passed=low is not None and low > 0,
        found=told("macro F1", ours.shares.macro_f1, theirs.shares.macro_f1, low),
        asked=f"a lower end above 0{why}",
    )


def _recall(
    rule: str, ours: Floats, theirs: Floats, is_label: Bools, given: Sample, rules: Rules, error: float
) -> Reason:
    asked = f"a lower end of at least {-rules.class_margin:+.3f}"
    if not is_label.any():
        return Reason(rule, True, "the holdout holds no report of it, so nothing can be said", asked)
    low = lower_end_of(ours - theirs, error)
    found = told("recall", ours, theirs, low)
    if low is None:
        # too few patients for an interval: what was seen must not be worse by more than the margin
        found += f", on {len(np.unique(given.patient[is_label]))} patients"
        # a plain bool: reasons are recorded as JSON, which knows none of numpy's
        not_worse = bool(ours[0] - theirs[0] >= -rules.class_margin)
        return Reason(rule, not_worse, found, f"{-rules.class_margin:+.3f} at least")
    return Reason(rule, low >= -rules.class_margin, found, asked)


def _calibration(name: str, ours: Measured, theirs: Measured, rules: Rules, error: float) -> Reason:
    """By the expected calibration error: a model may answer as before and be far too sure."""
    low = lower_end_of(theirs.ece - ours.ece, error)
    high = "no interval" if low is None else f"upper end {-low:+.3f}"
    return Reason(
        rule=f"probabilities not worse than those of {name}",
        passed=low is not None and low >= -rules.ece_margin,
        found=f"calibration error {ours.ece[0]:.3f} against {theirs.ece[0]:.3f}, "
        f"a difference of {ours.ece[0] - theirs.ece[0]:+.3f} ({high})",
        asked=f"an upper end of at most {rules.ece_margin:+.3f}",
    )


def lower_end_of(difference: Floats, error: float) -> float | None:
    """Of a difference as measured, then under paired draws: a one-sided interval."""
    return sure_lower_end(float(difference[0]), difference[1:], error)


def told(name: str, ours: Floats, theirs: Floats, low: float | None) -> str:
    sure = "no interval" if low is None else f"lower end {low:+.3f}"
    return (
        f"{name} {ours[0]:.3f} against {theirs[0]:.3f}, a difference of {ours[0] - theirs[0]:+.3f} ({sure})"
    )


@dataclass(frozen=True)
class Beside:
    """Macro F1 of a model and of another, and one figure of the two: `share_kept` or `gain`.

    `low` and `high`: its 95 % interval over paired draws of patients, None where they are too few.
    """

    f1_macro: float
    other_f1_macro: float
    figure: float
    low: float | None
    high: float | None


def share_kept(ours: Floats, other: Floats) -> Floats:
    """The share of the other's macro F1 that ours keeps."""
    return ours / np.maximum(other, 1e-9)


def gain(ours: Floats, other: Floats) -> Floats:
    """How much more ours is, in points of macro F1."""
    return ours - other


def beside(
    ours: ArrayLike,
    other: ArrayLike,
    labels_idx: ArrayLike,
    patients: Sequence[str],
    labels: int,
    seed: int,
    figure: Callable[[Floats, Floats], Floats],
    n_boot: int = 1000,
) -> Beside:
    """One model beside another, by (reports, labels) probabilities of both on the same reports."""
    given, theirs = (Sample.of(said, labels_idx, patients, labels) for said in (ours, other))
    draws = list(patient_weights(given.patients, given.reports, n_boot, seed))
    one, two = (measured(each, draws).shares.macro_f1 for each in (given, theirs))
    found = figure(one, two)
    low, high = interval(found[1:]) or (None, None)
    return Beside(float(one[0]), float(two[0]), float(found[0]), low, high)
