"""`lock`: another program holds the lock that laudos writes under, for moments and for a minute.

On SQLite that is the one write lock; on PostgreSQL the tables of reports and predictions, locked against
writers. A short lock must be waited for, by an ingest and by a scorer. A long one may end them with a
DatabaseFailure, which says that another program holds the lock; the next one goes on, and nothing is lost
or written twice. Who reads is never held up. And an ingest that hung, its lock lost, until another had
taken its turn must not write what it had read.
"""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

from db.engine import open_engine
from db.errors import LaudosError
from db.trial import TrialRow, locked
from tasks.settings.settings import Settings
from tasks.torture import controls, ingesting, learning, oracle, scoring
from tasks.torture.children import Ended
from tasks.torture.life import Life
from tasks.torture.oracle_scores import answered
from tasks.torture.scenario import Control, Load, Result, Scenario
from tasks.torture.scratch import SOURCE, Scratch, source_keys

SHORT_S, PAUSE_S = 0.02, 0.02
REPORTS = 40  # to be scored beside each kind of lock
SHORT = "short_locks_are_waited_for"
HUNG = "hung000001"


def run(world: Scratch, load: Load) -> Result:
    sources = {SOURCE: source_keys(world.hospital.url)}
    if load.workers:
        learning.teach(world)
        world.configure(**{**learning.keys(world.hospital.url, chunk_reports_min=5), "sources": sources})
    life = Life(world.hospital, world.rng, ingesting.now, "l")
    life.arrive(load.rows)
    _short(world, load, life)
    waited = _long(world, load, life)
    _hung(world)
    world.run(ingesting.once, True)
    counts = {
        "ingests beside short locks": load.rounds,
        "locks held long": 2 if load.seconds else 0,
        "seconds each": round(load.seconds),
        "waited out": sum(waited),
        "refused with a DatabaseFailure": len(waited) - sum(waited),
        "ingests that hung and came back": 1,
    }
    if load.workers:
        _score(world, check="unexpected_error")
        counts["reports scored"] = answered(world)
    return Result(counts, tuple(oracle.compare(world)))


def _short(world: Scratch, load: Load, life: Life) -> None:
    """Another program writes all the time, a moment each: everybody must get a turn."""
    other = world.beside(hold, SHORT_S, PAUSE_S)
    other.hear()
    for _ in range(load.rounds):
        for _ in range(5):
            life.change()
        world.run(ingesting.once, world.rng.random() < 0.3, check=SHORT)
    if load.workers:
        life.arrive(REPORTS)
        world.run(ingesting.once, False, check=SHORT)
        _score(world, check=SHORT)
    world.stop(other)


def _long(world: Scratch, load: Load, life: Life) -> list[bool]:
    """One lock for long: met once with little patience, once with as much as laudos has. Who waited."""
    waited = []
    for patience_s in (load.seconds / 3, None) if load.seconds else ():
        works: list[tuple[Any, ...]] = [(ingesting.once, False)]
        if load.workers:
            life.arrive(REPORTS)
            world.run(ingesting.once, False)
            works.append((scoring.work, scoring.cut(world.engine, world.settings)))
        other = world.beside(hold_once, load.seconds)
        other.hear()
        world.progress(f"the lock is held for {load.seconds:.0f} s")
        for _ in range(5):
            life.change()
        at_work = [world.start(ingesting.with_patience, patience_s, *work) for work in works]
        time.sleep(min(1.0, load.seconds / 2))
        try:
            oracle.missing(world)
        except LaudosError as error:
            world.complain("reads_go_on", str(error))
        for child in at_work:
            world.expect(child, allowed=("DatabaseFailure",))
            waited.append(child.ended == Ended())
        world.expect(other)
        for work in works:
            world.run(*work)
    return waited


def _hung(world: Scratch) -> None:
    """An ingest that hung until another had taken its turn must stop, and must have written nothing."""
    world.hospital.put([TrialRow(HUNG, "Laudo um.", ingesting.now())])
    hung = world.start(ingesting.hang)
    while (said := hung.hear()) is not None and said != ingesting.HANGS:
        pass
    world.hospital.amend(HUNG, "Laudo dois.", ingesting.now())
    world.run(ingesting.once, False)
    os.kill(hung.pid, signal.SIGCONT)
    world.expect(hung, allowed=("Busy",), check="who_lost_the_turn_stops")
    if hung.ended == Ended() or HUNG in oracle.missing(world):
        world.complain("who_lost_the_turn_stops", "an ingest wrote after another had taken its turn")


def _score(world: Scratch, check: str) -> None:
    job_id = scoring.cut(world.engine, world.settings)
    if job_id is not None:
        world.run(scoring.work, job_id, check=check)


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


LOCK = Scenario(
    name="lock",
    what="another program holds the lock that laudos writes under, for moments and for a minute",
    run=run,
    small=Load(rows=30, rounds=3, seconds=2, workers=1),
    full=Load(rows=300, rounds=100, seconds=60, workers=1),
    controls=(
        Control(
            "begin_immediate",
            "SQLite's write lock taken half-way through a transaction",
            controls.begin_immediate,
            (SHORT,),
            databases=("sqlite",),
            load=Load(rows=30, rounds=4),
        ),
        Control(
            "turn",
            "an ingest that commits although another has begun since",
            controls.turn,
            ("who_lost_the_turn_stops",),
            load=Load(rows=5),
        ),
    ),
)
