"""`score`: scorers are killed, the database server is stopped under them, and one comes back too late."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import numpy as np

from db import trial_scores
from db.engine import reading
from tasks.torture import controls_scoring, ingesting, learning, scoring
from tasks.torture.children import Child
from tasks.torture.herd import Herd
from tasks.torture.oracle_scores import answered
from tasks.torture.scenario import Control, Load, Result, Scenario
from tasks.torture.scoring import Model
from tasks.torture.scratch import Scratch

CHUNKS_MIN, REPORTS_A_CHUNK = 40, 250
HERDS_MAX = 8
LATE_REPORTS, LATE_LEASE_S = 20, 1.0
REAL_SHARE = 40  # one report for so many is scored by a real network besides
REPORTS_A_KILL = 250  # of those
TOLERANCE = 1e-3  # a network's answer moves a little with the texts beside it


def run(world: Scratch, load: Load) -> Result:
    learning.teach(world)
    _configure(world, LATE_REPORTS, LATE_REPORTS, lease=f"{LATE_LEASE_S}s")
    for number in range(load.rounds):
        _late(world, f"late{number}-")
    largest = max(1, min(REPORTS_A_CHUNK, load.rows // CHUNKS_MIN))
    _configure(world, max(1, largest // 4), largest, lease="60s")
    few = load.rows // REAL_SHARE
    real = Load(rows=few, kills=1 + few // REPORTS_A_KILL, workers=2)
    herds = _until_all_blows_fell(world, load)
    herds += [_herd(world, "b", real, "real")] if few else []
    counts = {
        "reports": answered(world),
        "of them by a real BERT": few,
        "late workers": load.rounds,
        "SIGKILLs of scorers": sum(herd.kills for herd in herds),
    }
    if world.server is not None:
        counts["immediate stops of the server"] = sum(herd.stops for herd in herds)
    return Result(counts)


def _until_all_blows_fell(world: Scratch, load: Load) -> list[Herd]:
    """On a machine so busy that a job ends before all have fallen, more reports come in."""
    herds: list[Herd] = []
    stops = load.stops if world.server is not None else 0
    left = load
    while left.rows and len(herds) < HERDS_MAX:
        herds.append(_herd(world, f"a{len(herds)}-", left, "stand-in"))
        left = replace(
            load,
            rows=load.rows // 4,
            kills=max(0, load.kills - sum(herd.kills for herd in herds)),
            stops=max(0, stops - sum(herd.stops for herd in herds)),
        )
        if not left.kills and not left.stops:
            break
    return herds


def _herd(world: Scratch, prefix: str, load: Load, model: Model) -> Herd:
    """New reports, scored to the end whatever happens, and their answers looked at."""
    herd = Herd(world, _receive(world, prefix, load.rows), load, model)
    herd.drive()
    _check_answers(world, herd)
    return herd


def _configure(world: Scratch, smallest: int, largest: int, *, lease: str) -> None:
    chunks = {"chunk_reports_min": smallest, "chunk_reports_max": largest}
    world.configure(**learning.keys(world.hospital.url, **chunks, lease=lease))


def _receive(world: Scratch, prefix: str, reports: int) -> int:
    """New reports taken in, and cut into a job; its id."""
    world.hospital.put(learning.rows(range(reports), prefix=prefix))
    ingesting.ingest(world.engine, world.settings, False, ingesting.now)
    job_id = scoring.cut(world.engine, world.settings)
    assert job_id is not None
    return job_id


def _late(world: Scratch, prefix: str) -> None:
    """A worker stalls until another has taken over its chunk, and then goes on."""
    job_id = _receive(world, prefix, LATE_REPORTS)
    late = _stalled(world, job_id)
    time.sleep(1.2 * LATE_LEASE_S)
    other = _stalled(world, job_id)
    for worker in (late, other):
        if worker.alive:
            os.kill(worker.pid, signal.SIGCONT)
        world.expect(worker)
    world.run(scoring.work, job_id)


def _stalled(world: Scratch, job_id: int) -> Child:
    """A worker that has computed a chunk and not written it."""
    worker = world.start(scoring.stall, job_id)
    while (said := worker.hear()) is not None:
        if said == scoring.STALLED:
            return worker
    world.complain("chunks_can_be_taken_over", f"a worker found no chunk of job {job_id}")
    return worker


def _check_answers(world: Scratch, herd: Herd) -> None:
    """Each report bears the answer to its own text, and not to another's."""
    _, model = scoring.champion(world.engine, world.settings, herd.model)
    wrong = 0
    with reading(world.engine) as c:
        for page in trial_scores.said(c, herd.job_id):
            again = model.predict([one.text for one in page])
            stored = np.array([[one.probabilities[label] for label in model.labels] for one in page])
            true = np.array([[one.probabilities[label] for label in model.labels] for one in again])
            wrong += int((np.abs(stored - true) > TOLERANCE).any(axis=1).sum())
    if wrong:
        world.complain("answers_are_the_models", f"{wrong} answers of job {herd.job_id} are not its model's")


SCORE = Scenario(
    name="score",
    what="scorers are killed, PostgreSQL is stopped at once under them, and workers come back too late",
    run=run,
    small=Load(kills=6, stops=2, rows=1_200, workers=3, rounds=1),
    full=Load(kills=150, stops=20, rows=100_000, workers=8, rounds=5),
    controls=(
        Control(
            name="fence",
            what="a worker's lease is not looked at when it writes",
            switch_off=controls_scoring.fence,
            noticed_by=("predictions_under_their_lease",),
            load=Load(rounds=1),
        ),
        Control(
            name="finishing_transaction",
            what="a chunk's end is committed before its predictions",
            switch_off=controls_scoring.finishing_transaction,
            noticed_by=("chunks_wrote_what_they_say", "answered_exactly_once"),
            load=Load(kills=3, rows=300, workers=2),
        ),
    ),
)
