"""`kill`: ingest is killed at any moment, again and again, while the hospital goes on working.

A process ingests without a pause, now following what changed, now comparing every row, in pages of seven
rows; after a time between nothing and a second it gets a SIGKILL, and the next one begins. Reports arrive
meanwhile, are amended, taken back, spoilt and deleted, some without an id, some twice with two contents.
At the end one undisturbed comparison, and then every row of the hospital must be where it belongs, once.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tasks.torture import controls, ingesting, oracle
from tasks.torture.life import Life, live
from tasks.torture.scenario import Control, Load, Result, Scenario
from tasks.torture.scratch import Scratch

# how long an ingest lives: some die while they start, most within a page, some at the very end
LIVES_S = ((0.0, 0.05), (0.0, 0.3), (0.2, 1.0))
BETWEEN = 3  # changes at the hospital between two kills, besides those that go on all the time


def run(world: Scratch, load: Load) -> Result:
    rng = world.rng
    life = Life(world.hospital, rng, lambda: datetime.now(UTC), "b")
    life.arrive(load.rows)
    day = world.beside(live, str(rng.random()), 0.05)
    kills = 0
    while kills < load.kills:
        for _ in range(BETWEEN):
            life.change()
        ingest = world.start(ingesting.on_and_on, str(rng.random()))
        ingest.hear()
        time.sleep(rng.uniform(*rng.choice(LIVES_S)))
        if ingest.kill():
            kills += 1
        else:
            world.expect(ingest)
            world.complain("unexpected_end", "an ingest ended that was to go on")
        if kills % 10 == 0:
            world.progress(f"{kills} of {load.kills} kills")
    world.stop(day)
    world.run(ingesting.once, True)
    return Result(
        {"SIGKILLs of ingest": kills, "rows at the hospital": len(world.hospital.standing())},
        tuple(oracle.compare(world)),
    )


KILL = Scenario(
    name="kill",
    what="ingest is killed (SIGKILL) at any moment while reports come, change, break and go",
    run=run,
    small=Load(kills=12, rows=60),
    full=Load(kills=500, rows=60),
    controls=(
        Control(
            "ledger_transaction",
            "the ledger in a transaction of its own",
            controls.ledger_transaction,
            ("counts_in_are_counts_out",),
        ),
        Control(
            "page_transaction",
            "a page in two transactions",
            controls.page_transaction,
            ("counts_in_are_counts_out",),
        ),
    ),
)
