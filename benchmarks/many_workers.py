"""A hundred workers and a hundred million reports on one PostgreSQL: where it bends, from measured costs.

    python -m benchmarks.many_workers               some minutes of one core
    python -m benchmarks.many_workers --scale 0.2   a quick look, recorded nowhere

**Measured** on a scratch PostgreSQL that flushes to disk: what one chunk of 1,000 reports costs the server in
processor time (Linux counts it for each of its processes), by the worker's own steps: claim, read, write, and
write under the lock on the job's row; what a flush takes; how much log a chunk writes. Claims on a job of as
many chunks as there are in a hundred million reports. Reading and writing are a real worker's
(tasks.scoring.scorer.Scorer) with a model as fast as a hash.

**Checked**: the same with 1, 4 and 8 connections at once, each working on the next chunk without a pause;
and the simulation of just that, with as many cores as this machine has, client and server together. The
client's threads share one interpreter, a station of its own there.

**Simulated** (benchmarks.closed_queue): workers that are machines of their own, with so many seconds to
compute a chunk, around a server of 8 cores as fast as this one. `efficiency`: reports a second beside as many
workers that never meet. What a worker reads a second is stated, not measured here: 6 reports (a network of
BERT-base's size on one core), 35 (MiniLM), 160 (the demo's), 8,000 (a new head on stored vectors).
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
from sqlalchemy import Engine, text

from benchmarks import backlogs, scoring_loop
from benchmarks.closed_queue import Costs, play
from benchmarks.predictions import scratch
from benchmarks.record import Figure, expecting, tell, write
from benchmarks.scoring_ground import MIXES, receive, texts
from db import scoring
from db.engine import open_engine, reading, writing
from db.scoring import Job
from tasks.ml.network.familiarity import sketches_of
from tasks.ml.network.predictor import Predictor
from tasks.scoring import scorer
from tasks.scoring.scorer import Scorer
from tasks.settings.settings import Settings
from tasks.torture import standin

COMMAND = "python -m benchmarks.many_workers"
CHUNK_REPORTS = 1000
CHUNKS = 48
CONNECTIONS = (1, 4, 8)
JOB_CHUNKS = 100_000  # a hundred million reports in chunks of a thousand
CLAIMS = 200
WIDTH = 384  # numbers a stored vector, as MiniLM's: half of BERT-base's, three times the demo's
LEASE = timedelta(hours=1)

SERVER_CORES = 8
WORKERS = (1, 10, 30, 100, 300)
PER_S = {"base": 6.0, "minilm": 35.0, "demo": 160.0, "stored": 8000.0}
PLAYED = 4000  # chunks: enough to settle

# written down before the first run; of claims and the lock, after the change that it asked for
EXPECTED = {
    "claim_of_100k_chunks": "1 to 3: it was 18 while every open chunk was sorted by each claim",
    "server_per_chunk": "40 to 100: a thousand rows in two tables, and their texts out of a third",
    "held_per_chunk": "1 to 2: it was 36 while the vectors were written under the lock",
    "log_per_chunk": "1 to 3",
    "simulation_over_measured_8": ".8 to 1.3",
    "efficiency_base_100": ".99 to 1",
    "efficiency_minilm_100": ".95 to 1",
    "efficiency_demo_100": ".99 to 1",
    "efficiency_stored_30": ".5 to .9: the lock, held through a flush",
}


@dataclass
class Marks:
    """Where one chunk's time goes: at every mark both sides' processor time, and the clock."""

    backend: int
    at: list[tuple[str, float, float, float]] = field(default_factory=list)

    def mark(self, name: str) -> None:
        told = Path(f"/proc/{self.backend}/schedstat").read_text(encoding="ascii")
        server_s = int(told.split()[0]) / 1e9
        self.at.append((name, server_s, time.thread_time(), time.perf_counter()))

    def between(self, first: str, last: str) -> tuple[float, float, float]:
        """Seconds of server, client and clock from one mark to the next `last`; the median of all."""
        found = []
        for at, one in enumerate(self.at):
            other = next((later for later in self.at[at:] if later[0] == last), None)
            if one[0] == first and other is not None:
                found.append(tuple(other[number] - one[number] for number in (1, 2, 3)))
        server, client, clock = (median(numbers) for numbers in zip(*found, strict=True))
        return server, client, clock

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Mark the worker's own places, and where it takes the lock."""
        ended = scoring.end_if_complete

        def locked(*asked: object) -> None:
            self.mark("lock")
            ended(*asked)  # type: ignore[arg-type]

        with patch.object(scorer, "reach", self.mark), patch.object(scoring, "end_if_complete", locked):
            yield


@contextmanager
def nearly_free() -> Iterator[None]:
    """What the stand-in computes beside a hash is computed once: every report has the first one's sketch."""
    sketch = sketches_of(texts(1, MIXES["natural"], seed=8))
    with patch.object(standin, "sketches_of", lambda read: sketch * len(read)):
        yield


@dataclass(frozen=True)
class Ground:
    """A database with reports, and a model that costs nothing."""

    url: str
    settings: Settings

    def job(self, engine: Engine, number: int) -> tuple[Job, Predictor]:
        """Every report once more, for a model whose encoder has read none of them."""
        predictor = scoring_loop.stand_in()
        sha = f"{number:064x}"
        weight = np.resize(predictor.weight, (len(backlogs.LABELS), WIDTH))
        predictor = replace(predictor, facts=replace(predictor.facts, encoder_sha=sha), weight=weight)
        return backlogs.cut(engine, backlogs.new_model(engine, sha), CHUNK_REPORTS), predictor


def one_chunk(engine: Engine, of: Scorer, worker: str) -> bool:
    """Claim and score; False where nothing is free."""
    with writing(engine) as c:
        chunk = scoring.claim(c, of.job.id, worker, LEASE, scoring.lease_clock(c), deaths_max=0)
    if chunk is not None:
        of.score(chunk)
    return chunk is not None


def costs_alone(ground: Ground) -> tuple[Costs, dict[str, Figure]]:
    """One connection, step by step."""
    engine = open_engine(ground.url, 1)
    job, predictor = ground.job(engine, 1)
    of = Scorer(engine, ground.settings, job, predictor)
    with reading(engine) as c:
        marks = Marks(int(c.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()))
        began_at = c.exec_driver_sql("SELECT pg_current_wal_lsn()").scalar_one()
    one_chunk(engine, of, "warm")
    chunks = 1
    with marks.watching():
        marks.mark("begin")
        while one_chunk(engine, of, "alone"):
            marks.mark("begin")
            chunks += 1
    with reading(engine) as c:
        log = c.execute(
            text("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), :at)"), {"at": began_at}
        ).scalar_one()
    flush_s = _flush_s(engine, ground)
    claim_s, _ = _claims(engine, ground, 200)
    read = marks.between("begin", "score.chunk.encoded")
    wrote, held = (
        marks.between("score.chunk.encoded", "lock"),
        marks.between("lock", "score.finish.committed"),
    )
    whole = marks.between("begin", "score.finish.committed")
    engine.dispose()
    costs = Costs(
        claim_s=claim_s, read_s=max(0.0, read[0] - claim_s), write_s=wrote[0], held_s=held[0],
        flush_s=flush_s, alone_s=0.0, client_s=whole[1],
    )  # fmt: skip
    return costs, {
        "server_per_chunk": Figure(1e3 * whole[0], "ms of its processor", n=chunks),
        "read_per_chunk": Figure(1e3 * costs.read_s, "ms of its processor"),
        "written_per_chunk": Figure(1e3 * costs.write_s, "ms of its processor"),
        "held_per_chunk": Figure(1e3 * costs.held_s, "ms of its processor"),
        "client_per_chunk": Figure(1e3 * costs.client_s, "ms of its processor"),
        "log_per_chunk": Figure(float(log) / chunks / 2**20, "MiB"),
        "flush": Figure(1e3 * flush_s, "ms"),
    }


def _flush_s(engine: Engine, ground: Ground) -> float:
    """What a commit waits beyond what both sides compute: that of a heartbeat, which writes one row."""
    job, _ = ground.job(engine, 2)
    with writing(engine) as c:
        chunk = scoring.claim(c, job.id, "beats", LEASE, scoring.lease_clock(c))
    assert chunk is not None
    waited = []
    with reading(engine) as c:
        marks = Marks(int(c.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()))
    for _ in range(60):
        marks.mark("begin")
        with writing(engine) as c:
            scoring.renew(c, chunk, LEASE, scoring.lease_clock(c))
        marks.mark("end")
        (_, *begin), (_, *end) = marks.at[-2:]
        server, client, clock = (last - first for first, last in zip(begin, end, strict=True))
        waited.append(clock - server - client)
    # of a busy machine the quick quarter: the rest waited for a processor, too
    return max(0.0, float(np.quantile(waited, 0.25)))


def _claims(engine: Engine, ground: Ground, chunks: int) -> tuple[float, float]:
    """Seconds of the server's for a claim on a job of so many chunks more: with none done, and most."""
    job, _ = ground.job(engine, 3 + chunks)
    row = "(job_id, seq, first_version_id, last_version_id, reports, state)"
    with writing(engine) as c:
        c.execute(
            text(
                f"INSERT INTO score_chunk {row} SELECT :job, seq, seq, seq, 1, 'open' "
                "FROM generate_series(1000, 999 + :chunks) AS seq"
            ),
            {"job": job.id, "chunks": chunks},
        )
    found = []
    for done in (0, chunks - min(chunks, 2 * CLAIMS)):
        with writing(engine) as c:
            # those before the claims to come, as after days of work
            c.execute(
                text("UPDATE score_chunk SET state = 'done' WHERE job_id = :job AND seq < 1000 + :done"),
                {"job": job.id, "done": done},
            )
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            c.execute(text("VACUUM ANALYZE score_chunk"))
        with reading(engine) as c:
            marks = Marks(int(c.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()))
        for _ in range(min(CLAIMS, chunks // 2)):
            marks.mark("begin")
            with writing(engine) as c:
                scoring.claim(c, job.id, "w", LEASE, scoring.lease_clock(c), deaths_max=0)
            marks.mark("end")
        found.append(marks.between("begin", "end")[0])
    return found[0], found[1]


def measured_rate(ground: Ground, connections: int) -> float:
    """Chunks a second of so many at once: the sum of each one's own, from when all have ended a first."""
    engine = open_engine(ground.url, connections)
    job, predictor = ground.job(engine, 1000 + connections)
    of = Scorer(engine, ground.settings, job, predictor)
    warm, over = threading.Barrier(connections), threading.Event()
    rates: list[float] = []

    def run(worker: str) -> None:
        one_chunk(engine, of, worker)
        warm.wait()
        began, ended, chunks = time.perf_counter(), 0.0, 0
        # as long as there is work for all of them
        while not over.is_set() and one_chunk(engine, of, worker):
            ended, chunks = time.perf_counter(), chunks + 1
        over.set()
        rates.append(chunks / (ended - began) if chunks else 0.0)

    threads = [threading.Thread(target=run, args=(f"w{number}",)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    return sum(rates)


def checked(ground: Ground, costs: Costs) -> dict[str, Figure]:
    """The simulation beside what it simulates."""
    figures = {}
    for connections in CONNECTIONS:
        told = measured_rate(ground, connections)
        played = play(costs, connections, os.cpu_count() or 1, PLAYED).chunks_per_s
        figures[f"measured_{connections}"] = Figure(told, "chunks/s")
        figures[f"simulation_over_measured_{connections}"] = Figure(played / told, "ratio")
    return figures


def simulated(costs: Costs) -> dict[str, Figure]:
    """Machines of their own around one server."""
    figures = {}
    for name, per_s in PER_S.items():
        own = replace(costs, alone_s=CHUNK_REPORTS / per_s + costs.client_s, client_s=0.0)
        single = play(own, 1, SERVER_CORES, PLAYED).chunks_per_s
        for workers in WORKERS:
            told = play(own, workers, SERVER_CORES, PLAYED)
            share = told.chunks_per_s / single / workers
            figures[f"efficiency_{name}_{workers}"] = Figure(share, f"share; {told.narrowest} at work most")
            figures[f"busiest_{name}_{workers}"] = Figure(
                told.busy[told.narrowest], f"of the {told.narrowest}"
            )
        figures[f"days_100m_{name}_100"] = Figure(
            JOB_CHUNKS / play(own, 100, SERVER_CORES, PLAYED).chunks_per_s / 86_400, "days for 100M reports"
        )
    return figures


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="size of what is measured")
    asked = parser.parse_args(words)
    chunks = max(20, int(CHUNKS * asked.scale))
    with scratch("postgres") as url, nearly_free():
        engine = open_engine(url, 1)
        receive(engine, texts(chunks * CHUNK_REPORTS, MIXES["natural"], seed=8))
        settings = Settings(
            classifiers={
                backlogs.CLASSIFIER: {"labels": list(backlogs.LABELS), "critical": backlogs.LABELS[1]}
            }
        )
        ground = Ground(url, settings)
        costs, figures = costs_alone(ground)
        none_done, most_done = _claims(engine, ground, max(1000, int(JOB_CHUNKS * asked.scale)))
        engine.dispose()
        figures["claim_of_200_chunks"] = Figure(1e3 * costs.claim_s, "ms of its processor")
        figures["claim_of_100k_chunks"] = Figure(1e3 * none_done, "ms of its processor", n=CLAIMS)
        figures["claim_of_100k_chunks_most_done"] = Figure(1e3 * most_done, "ms of its processor", n=CLAIMS)
        figures |= checked(ground, costs)
    figures |= simulated(replace(costs, claim_s=max(none_done, most_done)))
    tell(figures)
    if asked.scale == 1.0:
        print(f"wrote {write('many_workers', COMMAND, expecting(figures, EXPECTED))}")


if __name__ == "__main__":
    main()
