"""What an audit found: named checks, each with its figure, its limit, and what a person should look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["passed", "failed", "untested"]


@dataclass(frozen=True)
class Evidence:
    """A phrase or a property that speaks. Holds words of reports: for a person's eyes, never for a log."""

    what: str
    label: str  # the label it goes with; empty where it is about rows or splits
    reports: int  # that bear it
    figure: float | None = None  # family-wise p, or what the check counts
    bits: float | None = None  # what its presence tells of the label: mutual information
    how: str = ""  # given the measurements, or outright


@dataclass(frozen=True)
class Check:
    """`measure` says what `statistic` is, `threshold` what it may be; `tested` properties were looked at."""

    name: str
    state: State
    measure: str
    statistic: float | None = None
    threshold: float | None = None
    tested: int = 0
    found: tuple[Evidence, ...] = ()
    note: str = ""

    @property
    def numbers(self) -> dict[str, Any]:
        """Without a word of any report."""
        figures = {"statistic": self.statistic, "threshold": self.threshold}
        return {
            "name": self.name,
            "state": self.state,
            "measure": self.measure,
            **{name: _rounded(value) for name, value in figures.items() if value is not None},
            "tested": self.tested,
            "found": len(self.found) if self.state == "failed" else 0,
            **({"note": self.note} if self.note else {}),
        }


@dataclass(frozen=True)
class Audit:
    """All checks of one corpus. It passed where none failed."""

    reports: int
    groups: int
    labels: dict[str, int]  # reports of each
    of_reports: int  # the corpus' own size, where only a sample was audited
    measured: bool
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.state == "failed")

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def numbers(self) -> dict[str, Any]:
        """The whole result without a word of any report, ready for JSON."""
        return {
            "passed": self.passed,
            "reports": self.reports,
            "of_reports": self.of_reports,
            "groups": self.groups,
            "labels": self.labels,
            "measured": self.measured,
            "checks": [check.numbers for check in self.checks],
        }

    def check(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)


def verdict(failed: bool) -> State:
    return "failed" if failed else "passed"


def untested(name: str, why: str, found: Sequence[Evidence] = ()) -> Check:
    return Check(name, "untested", "", found=tuple(found), note=why)


def _rounded(value: float) -> float:
    """To four digits: the last ones differ between machines."""
    return float(f"{value:.4g}") if math.isfinite(value) else value
