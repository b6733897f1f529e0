"""`lock`: another program holds the lock that laudos writes under, for moments and for a minute.

On SQLite that is the one write lock; on PostgreSQL the table of reports, locked against writers. A
short lock must be waited for. A long one may end an ingest with a DatabaseFailure, which says that
another program holds the lock; the next ingest goes on, and nothing is lost. Who reads is never held up.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from db import engine as database
from db.engine import open_engine
from db.errors import LaudosError
from db.trial import locked
from tasks.database import open_database
from tasks.settings import Settings
from tasks.torture import controls, ingesting, oracle
from tasks.torture.life import Life
from tasks.torture.scenario import Control, Load, Result, Scenario
from tasks.torture.scratch import Scratch

SHORT_S, PAUSE_S = 0.02, 0.02


def run(world: Scratch, load: Load) -> Result:
    life = Life(world.hospital, world.rng, lambda: datetime.now(UTC), "l")
    life.arrive(load.rows)
    _short(world, load, life)
    waited = _long(world, load, life)
    world.run(ingesting.once, True)
    counts = {
        "ingests beside short locks": load.rounds,
        "locks held long": len(waited),
        "seconds each": round(load.seconds),
        "waited out": sum(waited),
        "refused with a DatabaseFailure": len(waited) - sum(waited),
    }
    return Result(counts, tuple(oracle.compare(world)))


def _short(world: Scratch, load: Load, life: Life) -> None:
    """Another program writes all the time, a moment each: every ingest must get its turn."""
    other = world.beside(hold, SHORT_S, PAUSE_S)
    other.hear()
    for _ in range(load.rounds):
        for _ in range(5):
            life.change()
        world.run(ingesting.once, world.rng.random() < 0.3, check="short_locks_are_waited_for")
    world.stop(other)


def _long(world: Scratch, load: Load, life: Life) -> list[bool]:
    """One lock for long: met once with little patience, once with as much as laudos has. Which waited."""
    waited = []
    for patience_s in (load.seconds / 3, None):
        other = world.beside(hold_once, load.seconds)
        other.hear()
        world.progress(f"the lock is held for {load.seconds:.0f} s")
        for _ in range(5):
            life.change()
        ingest = world.start(with_patience, patience_s)
        time.sleep(min(1.0, load.seconds / 2))
        try:
            oracle.missing(world)
        except LaudosError as error:
            world.complain("reads_go_on", str(error))
        world.expect(ingest, allowed=("DatabaseFailure",))
        world.expect(other)
        waited.append(ingest.ended is not None and ingest.ended.error is None)
        world.run(ingesting.once, False)
    return waited


def hold(settings: Settings, tell: Connection, for_s: float, pause_s: float) -> None:
    """Another program, until it is killed: writes, holds the lock for a moment, pauses."""
    engine = open_engine(settings.database)
    tell.send("ready")
    while True:
        with locked(engine):
            time.sleep(for_s)
        time.sleep(pause_s)


def hold_once(settings: Settings, tell: Connection, for_s: float) -> None:
    """Another program that holds the lock for long; tells when it has it."""
    with locked(open_engine(settings.database)):
        tell.send("held")
        time.sleep(for_s)


def with_patience(settings: Settings, tell: Connection, patience_s: float | None) -> None:
    """One ingest that waits no longer than so long for SQLite's lock."""
    if patience_s is not None:
        database.SQLITE_BUSY_TIMEOUT_S = patience_s
    ingesting.ingest(open_database(settings), settings, False, ingesting.now)


LOCK = Scenario(
    name="lock",
    what="another program holds the lock that laudos writes under, for moments and for a minute",
    run=run,
    small=Load(rows=30, rounds=4, seconds=2),
    full=Load(rows=300, rounds=100, seconds=60),
    controls=(
        Control(
            "begin_immediate",
            "SQLite's write lock taken half-way through a transaction",
            controls.begin_immediate,
            ("short_locks_are_waited_for",),
            databases=("sqlite",),
        ),
    ),
)
