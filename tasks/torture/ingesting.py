"""Processes that ingest: what the scenarios start, kill and confuse."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy import Engine

from db import engine as database
from db import scoring
from db.errors import Busy
from tasks import ledger
from tasks.database import open_database
from tasks.intake.ingest import ingest_from
from tasks.ledger import Counts, recorded_run
from tasks.ml import faultpoints
from tasks.scoring import scorer
from tasks.settings.settings import Settings
from tasks.torture.children import Work
from tasks.torture.scratch import SOURCE

FULL_SHARE = 0.25  # of the ingests compare everything
COMPARES = True  # a control leaves the nightly comparison out
HANGS = "hangs"
PATIENCE_S = 20.0  # for a lock that a killed process held: PostgreSQL's server must first notice


def once(settings: Settings, tell: Connection, full: bool, ahead_s: float = 0.0, name: str = SOURCE) -> None:
    """One ingest, as `laudos ingest` does it but for Prefect; tells when its run has begun, and its counts.

    `ahead_s`: by how much the machine's clock is wrong.
    """
    set_clock(ahead_s)
    engine = open_database(settings)
    tell.send(ingest(engine, settings, full, now, name, lambda: tell.send("begun")))


def on_and_on(settings: Settings, tell: Connection, seed: str, full_share: float = FULL_SHARE) -> None:
    """One ingest after the other until killed; tells when the first begins."""
    rng = random.Random(seed)
    engine = open_database(settings)
    tell.send("ready")
    while True:
        ingest(engine, settings, rng.random() < full_share, now)


def ingest(
    engine: Engine,
    settings: Settings,
    full: bool,
    clock: Callable[[], datetime],
    name: str = SOURCE,
    begun: Callable[[], None] = lambda: None,
) -> Counts:
    """What came of one source. Only for the lock of one that was killed it waits a while."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with recorded_run(engine, settings, "ingest", exclusive="ingest") as run:
                begun()
                return ingest_from(engine, settings, name, run.id, full and COMPARES, clock())
        except Busy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def hang(settings: Settings, tell: Connection) -> None:
    """An ingest that lost its lock and hangs with a page decided, until somebody sends SIGCONT."""

    def strike(point: str) -> None:
        if point == "ingest.page.decided":
            faultpoints.arm(None)
            tell.send(HANGS)
            os.kill(os.getpid(), signal.SIGSTOP)

    engine = open_database(settings)
    faultpoints.arm(strike)
    with recorded_run(engine, settings, "ingest") as run:
        ingest_from(engine, settings, SOURCE, run.id, False, now())


def with_clock(settings: Settings, tell: Connection, ahead_s: float, work: Work, *arguments: Any) -> None:
    """Any work, by a process whose clock is wrong."""
    set_clock(ahead_s)
    work(settings, tell, *arguments)


def with_patience(
    settings: Settings, tell: Connection, patience_s: float | None, work: Work, *arguments: Any
) -> None:
    """Any work, by a process that waits no longer than so long for SQLite's lock (None: as laudos does)."""
    if patience_s is not None:
        database.SQLITE_BUSY_TIMEOUT_S = patience_s
    work(settings, tell, *arguments)


def now() -> datetime:
    """By this process's clock."""
    return datetime.now(UTC)


def set_clock(ahead_s: float) -> None:
    """Let this process's clock be wrong, for whatever in laudos asks it."""
    if not ahead_s:
        return
    true, ahead = datetime, timedelta(seconds=ahead_s)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return true.now(tz) + ahead

    for module in (ledger, scoring, scorer, sys.modules[__name__]):
        module.datetime = Wrong  # type: ignore[attr-defined]
