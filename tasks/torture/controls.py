"""Protections that can be switched off, in a child process of a scenario and nowhere else.

Each function patches the process that calls it. Production code knows no such switch: what is patched
must be there under its name, or the function raises and the scenario with it. Where a broken
protection would show only to a kill that hits the right microsecond, the patch dawdles there, so that
a dozen kills show what a year of nights would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from db import engine, ledger, quarantine, reports, scoring, sources, trial
from tasks.intake import ingest, intake
from tasks.torture import ingesting
from tasks.torture.patching import commit_half, replace

DAWDLE_S = 0.02


def ledger_transaction() -> None:
    """The ledger is written in a transaction of its own, after its page's."""
    replace(ledger, "add_batch", _after_a_commit)


def page_transaction() -> None:
    """A page's reports are committed before its labels, quarantine and ledger."""

    def split(take_in: Callable[..., Any]) -> Callable[..., Any]:
        def and_commit(c: Connection, *args: Any, **more: Any) -> Any:
            taken = take_in(c, *args, **more)
            commit_half(c)
            time.sleep(DAWDLE_S)
            return taken

        return and_commit

    replace(reports, "take_in", split)


def overlap() -> None:
    """Each ingest reads on exactly where the one before stopped, and no nightly comparison comes after it."""

    def without(begin_turn: Callable[..., Any]) -> Callable[..., Any]:
        return lambda c, name, _overlap_s: begin_turn(c, name, 0)

    replace(sources, "begin_turn", without)
    no_comparison()


def no_comparison() -> None:
    """The nightly comparison of every row is left out."""
    replace(ingesting, "COMPARES", lambda _: False)


def sane_watermark() -> None:
    """The watermark follows whatever date a row bears and is believed; no full comparison follows."""

    def any_date(latest: Callable[..., Any]) -> Callable[..., Any]:
        return lambda rows, _now: latest(rows, datetime.max.replace(tzinfo=UTC))

    replace(ingest, "_latest", any_date)
    replace(ingest, "_since", lambda _original: lambda turn, _overlap, _now: turn.since)
    no_comparison()


def turn() -> None:
    """An ingest commits whoever has the source's turn by now."""

    def whoever(move: Callable[..., Any]) -> Callable[..., Any]:
        return lambda c, turn, *to: move(c, trial.begin_again(c, turn), *to)

    replace(sources, "move_watermark", whoever)


def run_end() -> None:
    """A run ends at the moment the clock tells, be it before the run began."""
    replace(ledger, "_end", lambda _: lambda _c, now: now)


def lease_clock() -> None:
    """Each worker looks at its own machine's clock for its leases, on PostgreSQL too."""
    replace(scoring, "lease_clock", lambda _: lambda _c: ingesting.now())


def begin_immediate() -> None:
    """SQLite's write lock is taken by the first write of a transaction, not by its BEGIN."""
    replace(engine, "_begin_sqlite", lambda _: lambda c: c.exec_driver_sql("BEGIN"))


def cleaner() -> None:
    """The cleaner raises on one kind of text, which is not among those it is known to refuse."""

    def fragile(clean: Callable[..., Any]) -> Callable[..., Any]:
        def cleaned(raw: object) -> Any:
            if isinstance(raw, str) and "&#" in raw:
                raise ValueError("an entity")
            return clean(raw)

        return cleaned

    replace(intake, "clean", fragile)


def quarantine_drops() -> None:
    """What cannot be taken in is counted but not kept, one row in ten."""

    def lossy(add: Callable[..., Any]) -> Callable[..., Any]:
        return lambda c, run_id, source_id, rows, now: add(
            c, run_id, source_id, [row for n, row in enumerate(rows) if n % 10], now
        )

    replace(quarantine, "add", lossy)


def _after_a_commit(write: Callable[..., Any]) -> Callable[..., Any]:
    def committed_first(c: Connection, *args: Any, **more: Any) -> Any:
        commit_half(c)
        time.sleep(DAWDLE_S)
        return write(c, *args, **more)

    return committed_first
