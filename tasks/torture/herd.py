"""Scorers side by side on one job, killed and replaced until it is done."""

from __future__ import annotations

import itertools
import time

from db import scoring as jobs
from db.engine import reading
from tasks.torture import scoring
from tasks.torture.children import Child
from tasks.torture.scenario import Load
from tasks.torture.scoring import Doom, Model
from tasks.torture.scratch import Scratch

DOOMED_SHARE = 0.25  # of the workers die at a named place, besides those that are killed at any moment
# half-way through the transaction first: it is the worst place of all
PLACES = (
    "score.finish.predictions",
    "score.chunk.claimed",
    "score.chunks.taken_over",
    "score.finish.features",
    "score.finish.committed",
    "score.finish.begun",
    "score.chunk.encoded",
)
BLOWS_UNTIL = 0.9  # of the chunks are done; what is left must end by itself
PATIENCE_S = 900.0
POLL_S = 0.005


class Herd:
    """`load` says how many workers, how many of them to kill, and how often to stop the server."""

    def __init__(self, world: Scratch, job_id: int, load: Load, model: Model) -> None:
        self.job_id, self.model = job_id, model
        self.kills = self.stops = 0
        self._world, self._load = world, load
        self._workers: list[Child] = []
        self._doomed: set[Child] = set()
        self._places = itertools.cycle(PLACES)

    def drive(self) -> None:
        """Blows fall evenly while the job goes on; a job that does not end is a violation."""
        stops = self._load.stops if self._world.server is not None else 0
        give_up = time.monotonic() + PATIENCE_S
        while (done := self._done()) is not None:
            if done == 1.0:
                self._world.complain("jobs_end", f"job {self.job_id} has no chunk left and was not ended")
                break
            self._tend()
            while self._workers and _due(done, self.kills, self._load.kills):
                self._kill()
            if _due(done, self.stops, stops):
                self._stop_the_server()
            if time.monotonic() > give_up:
                self._world.complain("jobs_end", f"job {self.job_id} was not done in {PATIENCE_S:.0f} s")
                break
            time.sleep(POLL_S)
        for worker in self._workers:
            self._reap(worker)

    def _done(self) -> float | None:
        """Share of the chunks; None once the job says itself that it is done.

        The chunks are read first: whoever ends the last one ends the job in the same transaction.
        """
        with reading(self._world.engine) as c:
            far, job = jobs.progress(c, self.job_id), jobs.existing(c, self.job_id)
        if job.state == "done":
            return None
        return far.done / (far.open + far.leased + far.done)

    def _tend(self) -> None:
        """Bury the dead and start others in their place."""
        for worker in [one for one in self._workers if not one.alive]:
            self._workers.remove(worker)
            self._reap(worker)
        while len(self._workers) < self._load.workers:
            self._start()

    def _start(self) -> None:
        doom = None
        if not self._doomed or self._world.rng.random() < DOOMED_SHARE:
            doom = Doom(next(self._places), self._world.rng.randint(1, 3))
        worker = self._world.start(scoring.work, self.job_id, self.model, doom)
        self._workers.append(worker)
        if doom is not None:
            self._doomed.add(worker)

    def _reap(self, worker: Child) -> None:
        if worker in self._doomed:
            worker.join()
            # one that found no work left lives to tell
            self.kills += worker.ended is None
        if worker.ended is not None or worker not in self._doomed:
            self._world.expect(worker, ("DatabaseFailure",) if self.stops else ())

    def _kill(self) -> None:
        worker = self._world.rng.choice(self._workers)
        self._workers.remove(worker)
        if worker.kill():
            self.kills += 1
        else:
            self._reap(worker)
        self._world.progress(f"{self.kills} of {self._load.kills} kills")

    def _stop_the_server(self) -> None:
        assert self._world.server is not None
        self.stops += 1
        self._world.server.stop("immediate")
        self._world.server.start()


def _due(done: float, so_far: int, in_all: int) -> bool:
    return so_far < in_all and done >= BLOWS_UNTIL * (so_far + 1) / (in_all + 1)
