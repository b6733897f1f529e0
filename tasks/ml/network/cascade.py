"""Which answers of a small network may stand for a large one's, so that hardly any decision differs.

The small network, the student, answers where it is sure enough; the champion reads the rest. How sure is
enough is chosen by testing, from the strictest confidence on, whether what is promised would hold, and by
stopping at the first that does not pass: each promise then holds with 95 % certainty, whatever the networks
(fixed sequence testing: Angelopoulos, Bates, Candès, Jordan & Lei 2021, "Learn then test: calibrating
predictive algorithms to achieve risk control", arXiv 2110.01052). A student that is tested again on more
reports gets another chance to pass by luck: the error is spent over all of its tests together (`error_of`).

It takes no label, only reports that both read; one of each patient, for several of one are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.stats import beta, binom

from tasks.ml.network.backends import OTHER_DECISIONS_MAX

CRITICAL_LOST_MAX = 0.01  # of the reports to which the champion gives the critical label
ERROR = 0.05  # how likely a promise may be to fail, over all tests of a student together
# how likely a cascade that only just keeps its promises may be to fail by what any one night has counted;
# over many nights it is likelier, and far less for one that keeps them easily
AUDIT_ERROR = 0.01
PAYS_FROM = 1.5  # times as fast
# strictest first, and the same for every model: chosen by the answers, they could not be tested on them
CONFIDENCES = tuple((1 - np.geomspace(1e-6, 0.3, 48)).tolist())


@dataclass(frozen=True)
class Agreement:
    """How a cascade answered reports that its champion read, too.

    `critical`: reports to which the champion gives the critical label; `answered`: by the student;
    `other_decisions`: another label than the champion's, or auto where it leaves the report to a person;
    `critical_lost`: critical ones to which the student gave another label.
    """

    reports: int
    critical: int
    answered: int
    other_decisions: int
    critical_lost: int

    @property
    def other_decisions_share_max(self) -> float:
        """The largest share of other decisions that is still likely (95 %, one-sided, Clopper-Pearson)."""
        return _at_most(self.other_decisions, self.reports)

    @property
    def critical_lost_share_max(self) -> float:
        """The same of the critical reports."""
        return _at_most(self.critical_lost, self.critical)

    def proves(self, error: float) -> bool:
        """Whether both promises hold, each but for so small a chance."""
        return (
            _chance_of_so_few(self.other_decisions, self.reports, OTHER_DECISIONS_MAX) <= error
            and _chance_of_so_few(self.critical_lost, self.critical, CRITICAL_LOST_MAX) <= error
        )

    def breach(self) -> str | None:
        """Of audited reports: which promise can hardly hold any more; None where both still may."""
        if _chance_of_so_many(self.other_decisions, self.reports, OTHER_DECISIONS_MAX) <= AUDIT_ERROR:
            return (
                f"{self.other_decisions} of {self.reports:,} audited decisions are not the champion's; "
                f"{OTHER_DECISIONS_MAX:.1%} was promised"
            )
        if _chance_of_so_many(self.critical_lost, self.critical, CRITICAL_LOST_MAX) <= AUDIT_ERROR:
            return (
                f"{self.critical_lost} of {self.critical:,} audited critical reports got another label; "
                f"{CRITICAL_LOST_MAX:.0%} was promised"
            )
        return None


@dataclass(frozen=True)
class Choice:
    """How sure the student must be, and how the two agreed at that; `refused`: why it may not answer.

    `tested`: their answers were compared. Where reports are too few they are not, and no error is spent.
    """

    confidence: float
    agreement: Agreement
    refused: str | None = None
    tested: bool = True


def error_of(test: int) -> float:
    """How likely a promise may be to fail by a student's n-th test: a half of ERROR, a sixth, a twelfth, ...

    However many there are, these add up to ERROR at most.
    """
    return ERROR / (test * (test + 1))


def reports_needed(share: float, error: float) -> int:
    """The fewest reports, not one of them otherwise, with which `share` at most can be promised."""
    return math.ceil(math.log(error) / math.log1p(-share))


def too_few_patients(reports: int, error: float) -> str | None:
    """Why so many reports, one a patient, cannot prove anything, before any is read; None: they may."""
    return too_few(reports, OTHER_DECISIONS_MAX, error, "patients' calibration reports")


def too_few(found: int, share: float, error: float, whose: str) -> str | None:
    """Why these cannot prove that the share is kept; None where they may."""
    needed = reports_needed(share, error)
    if found >= needed:
        return None
    return f"{found:,} {whose} are too few to promise anything: {needed:,} are needed"


class Answer(Protocol):
    """What a network says of a report, fresh or ready to be written."""

    @property
    def label(self) -> str: ...
    @property
    def probabilities(self) -> dict[str, float]: ...
    @property
    def decision(self) -> str: ...


def is_sure(answer: Answer, confidence: float) -> bool:
    """Whether the student's answer stands: decided by its own rules, and as probable as was chosen."""
    return answer.decision == "auto" and answer.probabilities[answer.label] >= confidence


def agreement(
    student: Sequence[Answer], champion: Sequence[Answer], critical: str, confidence: float
) -> Agreement:
    """How the cascade would have answered the same reports."""
    answered = other = lost = 0
    for small, large in zip(student, champion, strict=True):
        if is_sure(small, confidence):
            answered += 1
            other += small.label != large.label or large.decision != "auto"
            lost += large.label == critical != small.label
    return Agreement(len(champion), sum(one.label == critical for one in champion), answered, other, lost)


def choose(student: Sequence[Answer], champion: Sequence[Answer], critical: str, error: float) -> Choice:
    """The least confidence at which both promises are proven; refused where none is, or too few are read.

    error: how likely each may be to fail by this test.
    """
    strictest = agreement(student, champion, critical, CONFIDENCES[0])
    lacking = too_few_patients(strictest.reports, error) or too_few(
        strictest.critical, CRITICAL_LOST_MAX, error, "reports that the champion calls critical"
    )
    if lacking is not None:
        return Choice(1.0, strictest, lacking, tested=False)
    chosen = None
    for confidence in CONFIDENCES:
        read = agreement(student, champion, critical, confidence)
        if not read.proves(error):
            break
        chosen = Choice(confidence, read)
    if chosen is None or chosen.agreement.answered == 0:
        return Choice(1.0, strictest, "the student is never sure enough to answer as the champion does")
    return chosen


def _chance_of_so_few(found: int, of: int, share: float) -> float:
    return float(binom.cdf(found, of, share))


def _chance_of_so_many(found: int, of: int, share: float) -> float:
    return float(binom.sf(found - 1, of, share))


def _at_most(found: int, of: int) -> float:
    return 1.0 if found >= of else float(beta.ppf(1 - ERROR, found + 1, of - found))
