"""`clock`: the hospital's clock and ours jump, each by itself, both ways, by an hour or by years.

First only the hospital's is wrong: rows of the far future must not hide those that come after them.
Then both jump between ingests, some of which are killed. Plain ingests may then miss rows whose date
lies far behind; the comparison of every row may not. A run must not end before it began, and a worker
whose clock is wrong must not take a chunk that another holds (on PostgreSQL, where the server's clock
is the one that counts; on SQLite the machine's is, and what protects there is the fence).
"""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta

from db.engine import reading
from db.trial import taken_over
from tasks.torture import controls, ingesting, learning, oracle, scoring
from tasks.torture.life import Life
from tasks.torture.oracle_scores import answered
from tasks.torture.scenario import Control, Load, Result, Scenario, Violation
from tasks.torture.scratch import SOURCE, Scratch, source_keys

HOUR_S, DAY_S, YEAR_S = 3600.0, 86400.0, 365 * 86400.0
JUMPS_S = (0.0, HOUR_S, -HOUR_S, 2 * DAY_S, -2 * DAY_S, YEAR_S, -YEAR_S, 20 * YEAR_S, -20 * YEAR_S)
REPORTS = 20  # to be scored beside a wrong clock
CHANGES = 6  # at the hospital, between two ingests


def run(world: Scratch, load: Load) -> Result:
    sources = {SOURCE: source_keys(world.hospital.url, overlap="1h", page_rows=20)}
    world.configure(sources=sources)
    if load.workers:
        learning.teach(world)
        world.configure(
            **{**learning.keys(world.hospital.url, chunk_reports_min=4, lease="10min"), "sources": sources}
        )
    rng = world.rng
    ahead_s = 0.0
    life = Life(world.hospital, rng, lambda: datetime.now(UTC) + timedelta(seconds=ahead_s), "c")
    life.arrive(load.rows)
    world.run(ingesting.once, False)
    ahead_s = 10 * YEAR_S
    life.arrive(5)
    world.run(ingesting.once, False)
    ahead_s = 0.0
    life.arrive(load.rows)
    world.run(ingesting.once, False)
    hidden = oracle.missing(world)
    found = [Violation("future_hides_nothing", ", ".join(hidden[:5]))] if hidden else []
    _killed(world, YEAR_S)  # its run began in a year's time; who finds it gone lives today
    jumps = 4
    for _ in range(load.rounds):
        ahead_s = rng.choice(JUMPS_S)
        for _ in range(CHANGES):
            life.change()
        _ingest(world, rng.choice(JUMPS_S))
        jumps += 2
    world.run(ingesting.once, True)
    stolen = [_lease(world, ahead_s) for ahead_s in (DAY_S, -DAY_S)] if load.workers else []
    counts = {"jumps of a clock": jumps, "rows at the hospital": len(world.hospital.standing())}
    if load.workers:
        counts["scorers with a wrong clock"] = len(stolen)
        counts["chunks they took over"] = sum(stolen)
        counts["reports scored"] = answered(world)
    return Result(counts, (*found, *oracle.compare(world)))


def _ingest(world: Scratch, ahead_s: float) -> None:
    """One ingest by a wrong clock; every third is killed, so that a later one finds it gone."""
    if world.rng.random() < 0.33:
        _killed(world, ahead_s)
    else:
        world.run(ingesting.once, False, ahead_s)


def _killed(world: Scratch, ahead_s: float) -> None:
    ingest = world.start(ingesting.once, False, ahead_s)
    ingest.hear()
    time.sleep(world.rng.uniform(0, 0.05))
    ingest.kill()


def _lease(world: Scratch, ahead_s: float) -> int:
    """A scorer with a wrong clock beside one that holds a chunk; how many chunks it took over."""
    world.hospital.put(learning.rows(range(REPORTS), prefix=f"lease{ahead_s:.0f}-"))
    world.run(ingesting.once, False)
    job_id = scoring.cut(world.engine, world.settings)
    holder = world.start(scoring.stall, job_id)
    while (said := holder.hear()) is not None and said != scoring.STALLED:
        pass
    world.run(ingesting.with_clock, ahead_s, scoring.work, job_id)
    os.kill(holder.pid, signal.SIGCONT)
    world.expect(holder)
    assert job_id is not None
    with reading(world.engine) as c:
        stolen = taken_over(c, job_id)
    if stolen and world.server is not None:
        world.complain("no_lease_is_stolen", f"{stolen} chunks of job {job_id}, by a clock that was wrong")
    return stolen


CLOCK = Scenario(
    name="clock",
    what="the hospital's clock and ours jump both ways, by an hour or by years",
    run=run,
    small=Load(rows=15, rounds=8, workers=1),
    full=Load(rows=100, rounds=150, workers=1),
    controls=(
        Control(
            "sane_watermark",
            "a watermark that follows future dates",
            controls.sane_watermark,
            ("future_hides_nothing",),
            load=Load(rows=15),
        ),
        Control(
            "run_end",
            "a run's end by whatever the clock says",
            controls.run_end,
            ("runs_end_after_they_began",),
            load=Load(rows=5),
        ),
        Control(
            "lease_clock",
            "leases by each worker's own clock",
            controls.lease_clock,
            ("no_lease_is_stolen",),
            databases=("postgres",),
            load=Load(rows=5, workers=1),
        ),
    ),
)
