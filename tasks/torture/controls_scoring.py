"""Protections of scoring and promoting that can be switched off; see patching.py."""

from __future__ import annotations

from collections.abc import Callable

from db import engine, models, scoring, trial_scores
from tasks.torture.patching import after_a_commit, replace


def fence() -> None:
    """A worker writes whoever holds its chunk by now."""

    def whoever_holds_it(_change_own: Callable[..., None]) -> Callable[..., None]:
        return trial_scores.change_chunk

    replace(scoring, "_change_own", whoever_holds_it)


def finishing_transaction() -> None:
    """A chunk's end is committed before its predictions are written."""
    replace(scoring, "add", after_a_commit)


def promoting_transaction() -> None:
    """A new champion is committed before the promotion that says why."""
    replace(models, "add_promotion", after_a_commit)


def idle_transaction() -> None:
    """A transaction whose client vanished is kept open for ever: 0 is PostgreSQL's word for it."""
    replace(engine, "IDLE_TRANSACTION_S", lambda _: 0)
