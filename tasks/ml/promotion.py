"""Promotion is earned: what a challenger must show, on the same holdout, before it answers.

Every rule must hold. A worse challenger therefore gets through with at most the error of the one rule it
breaks (5 %), and no correction for several rules is needed (intersection-union test, Berger 1982).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.ml.baselines import TRIVIAL
from tasks.ml.errors import UnfitData
from tasks.ml.measures import Sample, Shares, Tally
from tasks.ml.resampling import Floats, lower_end, patient_weights, share_interval

Bools = NDArray[np.bool_]

RULES_REVISION: Final = 2  # raise when the meaning of a rule changes


@dataclass(frozen=True)
class Rules:
    """What is asked. Margins are how much worse than the champion the lower end of a one-sided 95 %
    interval of the difference may be: `margin` in macro F1, `class_margin` in each label's recall,
    `behaviour_margin` in the share of the behaviour suite's pairs that it gets right, and `negation_margin`
    in that of the pairs on negation, of which there are fewer. `behaviour_floor` is the least that share may
    be by the lower end of its 95 % interval; 0 asks nothing."""

    margin: float = 0.02
    class_margin: float = 0.05
    behaviour_margin: float = 0.05
    negation_margin: float = 0.05
    behaviour_floor: float = 0.0
    holdout_patients_min: int = 20
    beat_baselines: bool = True
    n_boot: int = 1000


@dataclass(frozen=True)
class Reason:
    """One rule, whether it held, what was found and what was asked, in words."""

    rule: str
    passed: bool
    found: str
    asked: str

    @property
    def sentence(self) -> str:
        return f"{self.rule}: {self.found}; asked: {self.asked}"


@dataclass(frozen=True)
class Verdict:
    """The decision, with every rule that was looked at and the sha of the rules in force."""

    promoted: bool
    reasons: tuple[Reason, ...]
    rules_sha: str

    @property
    def refusals(self) -> tuple[Reason, ...]:
        return tuple(reason for reason in self.reasons if not reason.passed)


def rules_sha(rules: Rules, critical: str, floor: float, suite_sha: str | None = None) -> str:
    """sha256 of everything that decides, the behaviour suite included, for the promotion row."""
    plan = {"revision": RULES_REVISION, "critical": critical, "sensitivity_floor": floor, **asdict(rules)}
    plan["behaviour_suite"] = suite_sha
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


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
) -> Verdict:
    """Challenger against champion (None: there is none yet) and baselines, all on the same holdout.

    challenger, champion and each of baselines: (reports, labels) probabilities; floor: least sensitivity
    for `critical`, by the lower end of its 95 % interval. Of the baselines only majority and keyword_rule
    must be beaten; the others are for the report. further: what other rules found, which must hold as well,
    and suite_sha: of the behaviour suite that they were found on. Raises UnfitData where the input does not
    fit together.
    """
    given = Sample.of(challenger, labels_idx, patients, len(labels))
    ours = _shares(given, rules, seed)
    reasons = [
        _enough_patients(given, rules),
        _sensitivity(given, ours, list(labels).index(critical), critical, floor),
    ]

    def against(other: ArrayLike) -> Shares:
        return _shares(Sample.of(other, labels_idx, patients, len(labels)), rules, seed)

    if rules.beat_baselines:
        missing = [name for name in TRIVIAL if name not in baselines]
        if missing:
            raise UnfitData(f"cannot judge without the baseline {missing[0]!r}")
        reasons += [_beats(name, ours, against(baselines[name])) for name in TRIVIAL]
    if champion is not None:
        theirs = against(champion)
        reasons.append(_overall(ours, theirs, rules))
        reasons += [
            _recall(label, ours.recall[:, index], theirs.recall[:, index], given.truth == index, given, rules)
            for index, label in enumerate(labels)
        ]
    reasons += further
    return Verdict(
        all(reason.passed for reason in reasons), tuple(reasons), rules_sha(rules, critical, floor, suite_sha)
    )


def _shares(given: Sample, rules: Rules, seed: int) -> Shares:
    """First row the holdout itself, then one row a draw; the same seed draws the same patients."""
    tally = Tally.of(given)
    draws = [tally.shares(w) for w in patient_weights(given.patients, given.reports, rules.n_boot, seed)]
    stacked = {
        field.name: np.concatenate([getattr(draw, field.name) for draw in draws]) for field in fields(Shares)
    }
    return Shares(**stacked)


def _enough_patients(given: Sample, rules: Rules) -> Reason:
    return Reason(
        rule="enough patients",
        passed=given.patients >= rules.holdout_patients_min,
        found=f"the holdout holds {given.patients} patients ({given.reports} reports)",
        asked=f"at least {rules.holdout_patients_min} patients",
    )


def _sensitivity(given: Sample, ours: Shares, index: int, critical: str, floor: float) -> Reason:
    rule, asked = f"sensitivity for {critical}", f"a lower end of at least {floor:.3f}"
    is_critical = given.truth == index
    if not is_critical.any():
        return Reason(rule, False, f"the holdout holds no report of {critical}", asked)
    column, behind = ours.recall[:, index], len(np.unique(given.patient[is_critical]))
    ends = share_interval(float(column[0]), column[1:], behind)
    if ends is None:
        found = f"{column[0]:.3f}, with no interval: it stands on {behind} patients only"
        return Reason(rule, False, found, asked)
    found = f"{column[0]:.3f} (95 % interval {ends[0]:.3f} to {ends[1]:.3f}, {behind} patients)"
    return Reason(rule, ends[0] >= floor, found, asked)


def _beats(name: str, ours: Shares, theirs: Shares) -> Reason:
    low = _lower_end(ours.macro_f1, theirs.macro_f1)
    return Reason(
        rule=f"better than {name.replace('_', ' ')}",
        passed=low is not None and low > 0,
        found=_compared("macro F1", ours.macro_f1, theirs.macro_f1, low),
        asked="a lower end above 0",
    )


def _overall(ours: Shares, theirs: Shares, rules: Rules) -> Reason:
    low = _lower_end(ours.macro_f1, theirs.macro_f1)
    return Reason(
        rule="not worse than the champion overall",
        passed=low is not None and low >= -rules.margin,
        found=_compared("macro F1", ours.macro_f1, theirs.macro_f1, low),
        asked=f"a lower end of at least {-rules.margin:+.3f}",
    )


def _recall(label: str, ours: Floats, theirs: Floats, is_label: Bools, given: Sample, rules: Rules) -> Reason:
    rule, asked = (
        f"not worse than the champion on {label}",
        f"a lower end of at least {-rules.class_margin:+.3f}",
    )
    if not is_label.any():
        return Reason(rule, True, "the holdout holds no report of it, so nothing can be said", asked)
    low = _lower_end(ours, theirs)
    found = _compared("recall", ours, theirs, low)
    if low is None:
        # too few patients for an interval: what was seen must not be worse by more than the margin
        found += f", on {len(np.unique(given.patient[is_label]))} patients"
        # a plain bool: reasons are recorded as JSON, which knows none of numpy's
        not_worse = bool(ours[0] - theirs[0] >= -rules.class_margin)
        return Reason(rule, not_worse, found, f"{-rules.class_margin:+.3f} at least")
    return Reason(rule, low >= -rules.class_margin, found, asked)


def _lower_end(ours: Floats, theirs: Floats) -> float | None:
    """Of the difference, from paired draws: a one-sided 95 % interval."""
    return lower_end(ours[1:] - theirs[1:])


def _compared(name: str, ours: Floats, theirs: Floats, low: float | None) -> str:
    sure = "no interval" if low is None else f"lower end {low:+.3f}"
    return (
        f"{name} {ours[0]:.3f} against {theirs[0]:.3f}, a difference of {ours[0] - theirs[0]:+.3f} ({sure})"
    )
