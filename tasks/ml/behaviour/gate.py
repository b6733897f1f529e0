"""The behaviour suite as a rule of promotion: not worse than the champion on the same pairs."""

from __future__ import annotations

from math import sqrt
from typing import Final

from tasks.ml.arrays import Bools
from tasks.ml.behaviour.run import SuiteRun
from tasks.ml.behaviour.suite_file import NEGATION
from tasks.ml.errors import UnfitData
from tasks.ml.judging.rules import Reason, Rules

Z_ONE_SIDED_95: Final = 1.6448536269514722


def behaviour_reasons(ours: SuiteRun, theirs: SuiteRun | None, rules: Rules) -> list[Reason]:
    """Of the challenger and the champion (None: nothing to compare with), both run on one suite now.

    Raises UnfitData where the two were run on different suites.
    """
    reasons = [_floor(ours, rules.behaviour_floor)] if rules.behaviour_floor > 0 else []
    if theirs is None:
        return reasons
    if ours.suite.sha != theirs.suite.sha:
        raise UnfitData("challenger and champion were run on different behaviour suites")
    reasons.append(
        _not_worse("behaviour not worse than the champion's", ours, theirs, None, rules.behaviour_margin)
    )
    if any(pair.kind == NEGATION for pair in ours.suite.pairs):
        reasons.append(
            _not_worse(
                "negation not worse than the champion's", ours, theirs, NEGATION, rules.negation_margin
            )
        )
    return reasons


def lower_end_of_difference(gained: int, lost: int, pairs: int) -> float:
    """Of the share right, challenger minus champion: the lower end of a one-sided 95 % interval.

    `gained`: pairs that only the challenger has right, `lost`: only the champion. Pairs that both have right
    or wrong say nothing about the difference, as in McNemar's test. Half a pair is added to each of the four
    cells, so that no interval has zero width: Agresti & Min 2005, "Simple improved confidence intervals for
    comparing matched proportions" (Statistics in Medicine 24:729).
    """
    n = pairs + 2
    difference = (gained - lost) / n
    spread = sqrt(gained + lost + 1 - (gained - lost) ** 2 / n) / n
    return difference - Z_ONE_SIDED_95 * spread


def _floor(ours: SuiteRun, floor: float) -> Reason:
    share = ours.shares["all"]
    low, high = share.interval
    found = (
        f"{share.right} of {share.pairs} pairs right (95 % interval {low:.3f} to {high:.3f}; {_named(ours)})"
    )
    return Reason("behaviour", low >= floor, found, f"a lower end of at least {floor:.3f}")


def _not_worse(rule: str, ours: SuiteRun, theirs: SuiteRun, kind: str | None, margin: float) -> Reason:
    chosen = [kind in (None, pair.kind) for pair in ours.suite.pairs]
    we, they = ours.right[chosen], theirs.right[chosen]
    pairs, gained, lost = len(we), _count(we & ~they), _count(they & ~we)
    found = (
        f"{_count(we)} of {pairs} pairs right against {_count(they)}; {gained} right that the champion gets "
        f"wrong, {lost} the reverse ({_named(ours)})"
    )
    low = lower_end_of_difference(gained, lost, pairs)
    if lower_end_of_difference(0, 0, pairs) < -margin:
        # so few pairs that not even the same answers would show it: what was seen must not be worse
        seen = (gained - lost) / pairs
        return Reason(rule, seen >= -margin, f"{found}, too few for an interval", f"{-margin:+.3f} at least")
    return Reason(
        rule, low >= -margin, f"{found}; lower end {low:+.3f}", f"a lower end of at least {-margin:+.3f}"
    )


def _count(which: Bools) -> int:
    # a plain int: reasons are recorded as JSON, which knows none of numpy's
    return int(which.sum())


def _named(run: SuiteRun) -> str:
    return f"suite {run.suite.name}, {run.suite.sha[:8]}"
