"""The rules of promotion, and what is said of each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

RULES_REVISION: Final = 5  # raise when the meaning of a rule changes


@dataclass(frozen=True)
class Rules:
    """What is asked.

    Margins are how much worse than the champion the lower end of a one-sided interval of the difference may
    be: `margin` in macro F1, `class_margin` in each label's recall, `ece_margin` in the expected calibration
    error (its upper end, for less is better), `behaviour_margin` in the share of the behaviour suite's pairs
    that it gets right, and `negation_margin` in that of the pairs on negation, of which there are fewer.
    `behaviour_floor` is the least that share may be by the lower end of its 95 % interval; 0 asks nothing.
    `fairness_margin` and `fairness_review_margin`: how far apart a group of patients and all others may
    surely be in sensitivity and in the share left to a person; 1 asks nothing.
    `size_mib_max`: how much of it may be loaded, in MiB; `slower_max`: how many times as long as the
    champion's a report may take to read; `report_ms_max`: how many milliseconds of this machine's processor
    time. 0 asks nothing.
    `error`: with what probability any challenger that is worse by a margin may get through, over all looks
    at one holdout; the behaviour suite is no holdout, and is judged at 5 %, as are the groups.
    `approval`: automatic, or person: who meets all of it waits for one. `shadow_reports`: so many it first
    scores along with the champion, of which the share with the same label may not be below
    `shadow_agreement`. `approval_within_s`: how long it may take to either, in seconds.
    """

    margin: float = 0.02
    class_margin: float = 0.05
    behaviour_margin: float = 0.05
    ece_margin: float = 0.03
    negation_margin: float = 0.05
    behaviour_floor: float = 0.0
    fairness_margin: float = 0.2
    fairness_review_margin: float = 0.5
    size_mib_max: float = 2048.0
    slower_max: float = 3.0
    report_ms_max: float = 0.0
    holdout_patients_min: int = 20
    beat_baselines: bool = True
    error: float = 0.05
    n_boot: int = 1000
    approval: str = "automatic"
    approval_within_s: int = 7 * 86_400
    shadow_reports: int = 0
    shadow_agreement: float = 0.9

    @property
    def approval_within(self) -> timedelta:
        return timedelta(seconds=self.approval_within_s)


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


def rules_sha(rules: Rules, critical: str, floor: float, suite_sha: str | None = None) -> str:
    """sha256 of everything that decides, the behaviour suite included, for the promotion row."""
    plan = {"revision": RULES_REVISION, "critical": critical, "sensitivity_floor": floor, **asdict(rules)}
    plan["behaviour_suite"] = suite_sha
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
