"""Promotion is earned: what a challenger must show, on the same holdout, before it answers.

Every rule must hold. A worse challenger therefore gets through with at most the error of the one rule it
breaks, and no correction for several rules is needed (intersection-union test, Berger 1982). What a
comparison may err with is less at every look at one holdout (see looks.py).

Two ways in. *Fresh*: trained on newer data, and not worse than the champion by more than the margin.
*Better*: on the same data it must be superior. Either way it must not be worse than a fixed reference, the
model a person last let answer, by more than the same margin: many small steps down would add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tasks.ml.errors import UnfitData
from tasks.ml.judging.baselines import TRIVIAL
from tasks.ml.judging.comparison import Measured, better, compared, measured
from tasks.ml.judging.looks import error_left, error_of
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.resampling import patient_weights, share_interval
from tasks.ml.judging.rules import Reason, Rules, Verdict, rules_sha

TRIVIAL_ERROR = 0.05  # of each comparison with a trivial baseline, which no look wears


def judge(
    challenger: ArrayLike,
    champion: ArrayLike | None,
    baselines: Mapping[str, ArrayLike],
    labels_idx: ArrayLike,
    patients: Sequence[str],
    labels: Sequence[str],
    critical: str,
    rules: Rules,
    floor: float,
    seed: int,
    further: Sequence[Reason] = (),
    suite_sha: str | None = None,
    *,
    reference: ArrayLike | None = None,
    newer: bool = True,
    look: int = 1,
) -> Verdict:
    """Challenger against champion (None: there is none, or none that can be asked) and baselines, all on the
    same holdout.

    challenger, champion and each of baselines: (reports, labels) probabilities; floor: least sensitivity
    for `critical`, by the lower end of its 95 % interval. Of the baselines only majority and keyword_rule
    must be beaten; the others are for the report. further: what other rules found, which must hold as well,
    and suite_sha: of the behaviour suite that they were found on. Raises UnfitData where the input does not
    fit together.

    reference: the model that small steps may not lead away from, where it is another than the champion;
    newer: whether the challenger was trained on newer data than the champion; look: the
    number of this comparison on this holdout, from 1.
    """
    given = Sample.of(challenger, labels_idx, patients, len(labels))
    draws = list(patient_weights(given.patients, given.reports, rules.n_boot, seed))
    ours = measured(given, draws)
    reasons = [
        _enough_patients(given, rules),
        _sensitivity(given, ours, list(labels).index(critical), critical, floor),
    ]

    def against(other: ArrayLike) -> Measured:
        return measured(Sample.of(other, labels_idx, patients, len(labels)), draws)

    if rules.beat_baselines:
        missing = [name for name in TRIVIAL if name not in baselines]
        if missing:
            raise UnfitData(f"cannot judge without the baseline {missing[0]!r}")
        reasons += [
            better(name.replace("_", " "), ours, against(baselines[name]), TRIVIAL_ERROR) for name in TRIVIAL
        ]
    spend = error_of(look, rules.error)
    if champion is not None or reference is not None:
        reasons.append(_wear(look, rules))
    if champion is not None:
        reasons += compared("the champion", ours, against(champion), given, labels, rules, spend, newer=newer)
    if reference is not None:
        reasons += compared("the reference", ours, against(reference), given, labels, rules, spend)
    reasons += further
    return Verdict(
        all(reason.passed for reason in reasons), tuple(reasons), rules_sha(rules, critical, floor, suite_sha)
    )


def _enough_patients(given: Sample, rules: Rules) -> Reason:
    return Reason(
        rule="enough patients",
        passed=given.patients >= rules.holdout_patients_min,
        found=f"the holdout holds {given.patients} patients ({given.reports} reports)",
        asked=f"at least {rules.holdout_patients_min} patients",
    )


def _sensitivity(given: Sample, ours: Measured, index: int, critical: str, floor: float) -> Reason:
    rule, asked = f"sensitivity for {critical}", f"a lower end of at least {floor:.3f}"
    is_critical = given.truth == index
    if not is_critical.any():
        return Reason(rule, False, f"the holdout holds no report of {critical}", asked)
    column, behind = ours.shares.recall[:, index], len(np.unique(given.patient[is_critical]))
    ends = share_interval(float(column[0]), column[1:], behind)
    if ends is None:
        found = f"{column[0]:.3f}, with no interval: it stands on {behind} patients only"
        return Reason(rule, False, found, asked)
    found = f"{column[0]:.3f} (95 % interval {ends[0]:.3f} to {ends[1]:.3f}, {behind} patients)"
    return Reason(rule, ends[0] >= floor, found, asked)


def _wear(look: int, rules: Rules) -> Reason:
    return Reason(
        rule="wear of the holdout",
        passed=True,
        found=f"look {look} at it; this one may err with {error_of(look, rules.error):.2g}, and "
        f"{error_left(look, rules.error):.2g} is left for all that follow",
        asked=f"{rules.error:g} over all looks",
    )
