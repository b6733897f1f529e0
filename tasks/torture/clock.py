"""`clock`: the hospital's clock and ours jump, each by itself, both ways, by an hour or by years.

First only the hospital's is wrong: rows of the far future must not hide those that come after them.
Then both jump between ingests, some of which are killed. Plain ingests may then miss rows whose date
lies far behind; the comparison of every row may not. A run must not end before it began, and a worker
whose clock is wrong must not take a chunk that another holds (on PostgreSQL, where the server's clock
is the one that counts; on SQLite the machine's is, and what protects there is the fence).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from tasks.torture import controls, ingesting, oracle
from tasks.torture.life import Life
from tasks.torture.scenario import Control, Load, Result, Scenario, Violation
from tasks.torture.scratch import SOURCE, Scratch, source_keys

HOUR_S, DAY_S, YEAR_S = 3600.0, 86400.0, 365 * 86400.0
JUMPS_S = (0.0, HOUR_S, -HOUR_S, 2 * DAY_S, -2 * DAY_S, YEAR_S, -YEAR_S, 20 * YEAR_S, -20 * YEAR_S)
CHANGES = 6  # at the hospital, between two ingests


def run(world: Scratch, load: Load) -> Result:
    world.configure(sources={SOURCE: source_keys(world.hospital.url, overlap="1h", page_rows=20)})
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
    counts = {"jumps of a clock": jumps, "rows at the hospital": len(world.hospital.standing())}
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


CLOCK = Scenario(
    name="clock",
    what="the hospital's clock and ours jump both ways, by an hour or by years",
    run=run,
    small=Load(rows=15, rounds=8),
    full=Load(rows=100, rounds=150),
    controls=(
        Control(
            "sane_watermark",
            "a watermark that follows future dates",
            controls.sane_watermark,
            ("future_hides_nothing",),
        ),
        Control(
            "run_end",
            "a run's end by whatever the clock says",
            controls.run_end,
            ("runs_end_after_they_began",),
        ),
    ),
)
