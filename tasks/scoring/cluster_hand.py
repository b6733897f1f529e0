"""One worker process of a Dask cluster, as whoever runs the job sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

# for an answer, beyond a lease: the first time a worker loads the model, and may try back ends and a student
LOADING_S = 3600.0


@dataclass
class Hand:
    """`name`: on leases, once it greeted; `doing`: what it was asked; `refused`: why it is no longer asked.

    `since`: when it was asked that, or last held a chunk (monotonic seconds); `silent`: too long ago.
    """

    name: str | None = None
    doing: Any = None
    faults: int = 0
    refused: str | None = None
    since: float = 0.0
    silent: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether it waits to be asked."""
        return self.doing is None and self.name is not None and self.refused is None

    def ask(self, doing: Any, now: float) -> None:
        """Note what it was asked, and when."""
        self.doing, self.since, self.silent = doing, now, False

    def falls_silent(self, now: float, lease: timedelta, *, computes: bool) -> bool:
        """Whether it is found now, and was not before, to hang: asked long ago, and it computes nothing.

        A greeting takes no longer than a lease.
        """
        if self.doing is None or computes:
            self.since, self.silent = now, False
        patience_s = lease.total_seconds() + (0.0 if self.name is None else LOADING_S)
        before, self.silent = self.silent, self.silent or now - self.since > patience_s
        return self.silent and not before


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Which versions are others there; empty where none is."""
    return ", ".join(
        f"{name} {theirs.get(name, 'absent')} (here {version})"
        for name, version in ours.items()
        if theirs.get(name) != version
    )
