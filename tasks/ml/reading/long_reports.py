"""How a report that is longer than one window is read: how it is cut, and what its windows give together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.ml.arrays import Floats, Ints
from tasks.ml.reading.conclusions import METHOD, ConclusionHeadings

Together = Literal["mean", "max"]


@dataclass(frozen=True)
class LongReports:
    """As it stands: as before there was a choice, windows evenly spread and their mean."""

    conclusions: ConclusionHeadings | None = None  # whose sections lie whole in a window; None: of no section
    together: Together = "mean"  # of each number over the windows; attention weighs them and knows no other

    def as_json(self) -> dict[str, Any]:
        """All that decides windows and vectors; nothing for what was before there was a choice."""
        if self == AS_EVER:
            return {}
        told = asdict(self)
        return told if self.conclusions is None else told | {"method": METHOD}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LongReports:
        """Raises KeyError, TypeError or ValueError for what `as_json` never gave."""
        if not content:
            return AS_EVER
        headings, together = content["conclusions"], content["together"]
        if together not in ("mean", "max") or content.get("method", METHOD) != METHOD:
            raise ValueError("long_reports")
        if headings is None:
            return cls(None, together)
        return cls(ConclusionHeadings(tuple(headings["begin"]), tuple(headings["end"])), together)


AS_EVER = LongReports()


class Gathered:
    """The vectors of reports, gathered window by window."""

    def __init__(self, reports: int, hidden: int, together: Together) -> None:
        self.together = together
        self.mass = np.zeros(reports)
        self.numbers = np.full((reports, hidden), -np.inf if together == "max" else 0.0)

    def take(self, owner: Ints, vectors: Floats, weights: Floats | None) -> None:
        """Some windows (windows, hidden), each of the report `owner` says; weights: None for all alike."""
        if self.together == "max" and weights is None:
            np.maximum.at(self.numbers, owner, vectors)
            self.mass[owner] = 1.0
            return
        alike = np.ones(len(owner)) if weights is None else weights
        np.add.at(self.numbers, owner, alike[:, None] * vectors)
        np.add.at(self.mass, owner, alike)

    def vectors(self) -> NDArray[np.float32]:
        """(reports, hidden), once all windows were taken."""
        return (self.numbers / self.mass[:, None]).astype(np.float32)
