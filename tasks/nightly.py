"""What the nightly run needs besides its flows: one part's failure does not stop the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

from db import monitoring
from db.engine import reading
from tasks.database import open_database
from tasks.errors import Busy, LaudosError, NothingToWorkOn
from tasks.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Attempts:
    """Runs the parts of a night one after the other, and remembers what could not be done.

    skipped: a part lacked its input, such as labels that have not come yet; normal on the first nights.
    failed: anything else. Both hold whole sentences, safe to show.
    """

    patience_s: float = 600.0  # an hourly ingest may still be at work: wait for it
    pause_s: float = 15.0
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def __call__(self, what: str, part: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """The part's result as a list of one; of none where it was skipped or failed."""
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                return [part(*args, **kwargs)]
            except NothingToWorkOn as lacking:
                self.skipped.append(f"{what}: {lacking}")
            except Busy as busy:
                if time.monotonic() < deadline:
                    time.sleep(self.pause_s)
                    continue
                self.failed.append(f"{what}: {busy}")
            except LaudosError as failure:
                self.failed.append(f"{what}: {failure}")
            return []


def synthetic_sets_due(settings: Settings) -> list[str]:
    """Classifiers that learn from synthetic reports and whose set is missing or older than `renew_after`."""
    now = datetime.now(UTC)
    due = []
    with reading(open_database(settings)) as c:
        for name, asked in settings.classifiers.items():
            if "synthetic" in asked.training_labels:
                written = monitoring.last_synthesized(c, name)
                if written is None or now - written > asked.synthetic.renew_after:
                    due.append(name)
    return due
