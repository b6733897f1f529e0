"""Whether a model treats groups of patients alike: a group's figure less that of all the others, with its
uncertainty, and the rule of promotion on it.

A group is a slice of a protected field. Alike means: as often right on the critical label (equal opportunity,
Hardt, Price & Srebro 2016, "Equality of opportunity in supervised learning", NeurIPS), and as often left to a
person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tasks.ml.arrays import Bools, Floats
from tasks.ml.judging.evaluation import Figure
from tasks.ml.judging.looks import sure_lower_end
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.resampling import interval, patient_weights
from tasks.ml.judging.rules import Reason, Rules
from tasks.ml.judging.slice_fields import Field
from tasks.ml.judging.slices import SMALL_CRITICAL, SMALL_PATIENTS, is_small

Name = Literal["sensitivity", "review_share"]

FAIRNESS_ERROR: Final = 0.05  # of calling any group treated otherwise, shared by the groups that are judged
_WORDS: Final[dict[Name, str]] = {"sensitivity": "sensitivity", "review_share": "share left to a person"}


@dataclass(frozen=True)
class Gap:
    """One group against all others whose field is known.

    differences: (1 + draws,) as measured, then under draws of patients; small: the group, or the others,
    are too few to be judged; n: reports of the group that the figure stands on.
    """

    name: Name
    slice: str
    differences: Floats
    small: bool
    n: int


def gaps_of(
    given: Sample, fields: Sequence[Field], critical: int, to_person: Bools, *, n_boot: int = 1000, seed: int
) -> list[Gap]:
    """Both figures of every group of the protected fields. to_person: (reports,) which go to a person."""
    is_critical = given.truth == critical
    every = np.ones(given.reports, np.bool_)
    kinds: dict[Name, tuple[Bools, Bools]] = {
        "sensitivity": (given.said == critical, is_critical),
        "review_share": (to_person, every),
    }
    found: list[tuple[Name, str, Floats, Floats, bool, int]] = []
    for field in fields:
        known = np.array([value is not None for value in field.values])
        for value in sorted(
            {value for value in field.values if value is not None} if field.protected else ()
        ):
            inside = np.array([one == value for one in field.values])
            others = known & ~inside
            small = is_small(given.part(inside), critical) or is_small(given.part(others), critical)
            found += [
                (
                    name,
                    f"{field.name}={value}",
                    _counts(given, hit, asked & inside),
                    _counts(given, hit, asked & others),
                    small,
                    int((asked & inside).sum()),
                )
                for name, (hit, asked) in kinds.items()
            ]
    blocks = list(patient_weights(given.patients, given.reports, n_boot, seed)) if found else []
    return [
        Gap(
            name,
            slice_,
            np.concatenate([_share(weights @ ours) - _share(weights @ theirs) for weights in blocks]),
            small,
            n,
        )
        for name, slice_, ours, theirs, small, n in found
    ]


def gap_figures(gaps: Sequence[Gap]) -> list[Figure]:
    """`sensitivity_difference` and `review_share_difference` of each group, with 95 % intervals."""
    figures = []
    for gap in gaps:
        value = float(gap.differences[0])
        low, high = interval(gap.differences[1:]) or (None, None)
        shown = None if np.isnan(value) else value
        figures.append(Figure(f"{gap.name}_difference", gap.slice, shown, low, high, gap.n))
    return figures


def fairness_reasons(gaps: Sequence[Gap], rules: Rules) -> list[Reason]:
    """What the rules find: a group's difference, either way, must not surely be larger than the margin.

    Groups too small to be judged are named and decide nothing. A margin of 1 asks nothing.
    """
    margins: dict[Name, float] = {
        "sensitivity": rules.fairness_margin,
        "review_share": rules.fairness_review_margin,
    }
    return [
        _judged(name, [gap for gap in gaps if gap.name == name], margin)
        for name, margin in margins.items()
        if margin < 1
    ]


def _judged(name: Name, gaps: Sequence[Gap], margin: float) -> Reason:
    rule, asked = f"groups alike in {_WORDS[name]}", f"no group surely more than {margin:.2f} apart"
    judged = [gap for gap in gaps if not gap.small]
    small = [gap.slice for gap in gaps if gap.small]
    left_out = (
        f"; too small to be judged ({SMALL_PATIENTS} patients, {SMALL_CRITICAL} critical): {', '.join(small)}"
        if small
        else ""
    )
    if not judged:
        none = "no group of a protected field is large enough" if small else "no protected field differs"
        return Reason(rule, True, f"{none}, so nothing can be said{left_out}", asked)
    surely = [_surely_apart(gap, FAIRNESS_ERROR / len(judged)) for gap in judged]
    worst = max(range(len(judged)), key=lambda at: (surely[at], abs(judged[at].differences[0])))
    found = (
        f"{judged[worst].slice} is {judged[worst].differences[0]:+.3f} from the others, surely "
        f"{surely[worst]:.3f} apart; {len(judged)} groups judged{left_out}"
    )
    return Reason(rule, surely[worst] <= margin, found, asked)


def _surely_apart(gap: Gap, error: float) -> float:
    """How far a group surely is from the others, whichever way; 0 where that cannot be told."""
    ends = (sure_lower_end(float(side[0]), side[1:], error) for side in (gap.differences, -gap.differences))
    return max(0.0, *(end for end in ends if end is not None), 0.0)


def _counts(given: Sample, hit: Bools, asked: Bools) -> Floats:
    """(patients, 2): reports that are hits, and all that are asked about."""
    return given.per_patient(np.stack([hit & asked, asked], axis=1).astype(np.float64))


def _share(counts: Floats) -> Floats:
    """(draws,) from (draws, 2); NaN where nothing is asked about."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(counts[:, 0] / counts[:, 1])
