"""The parts of `benchmarks.scoring` that need no flow.

**rescore**: a million reports whose vectors lie there already, written by the database itself (real vectors,
of a few texts over and over), scored by one worker under a real head; against encoding a sample of ordinary
reports with the same MiniLM. Both per report, on one thread.
**workers**: `laudos worker` processes on PostgreSQL, each pinned to a core of its own, one and two by turns;
reports a second from the moment when all of them are at work to the end of the last chunk.
**dask**: the same with workers of a Dask scheduler on loopback; scheduler and asking process have no core of
their own.
**flat**: a worker with a model as fast as a hash: time per report at several sizes of the backlog.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median

from sqlalchemy import Engine, delete, text

from benchmarks import backlogs
from benchmarks.backlogs import CLASSIFIER, fill
from benchmarks.predictions import loop_over, scratch
from benchmarks.record import Figure
from benchmarks.scoring_ground import MIXES, build, champion, receive, store_vectors, texts
from db import models
from db.engine import reading, writing
from db.scoring import Job
from db.tables import feature, prediction, score_chunk, score_job, shift_test
from tasks.database import open_database
from tasks.scoring.claims import work_on
from tasks.scoring.cluster import score_on_cluster
from tasks.settings.settings import Settings

ENCODED = 60  # by the MiniLM: 150 ms each on a slow core
SIZES = (10_000, 100_000, 1_000_000)

# PostgreSQL keeps who claimed a chunk, and when: laudos itself forgets both once it is done
CLAIMS = (
    "CREATE TABLE claimed (seq integer, worker text, claimed_at timestamptz)",
    """CREATE FUNCTION claimed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO claimed VALUES (NEW.seq, NEW.leased_by, clock_timestamp()); RETURN NEW; END $$""",
    """CREATE TRIGGER claimed AFTER UPDATE ON score_chunk FOR EACH ROW
    WHEN (NEW.state = 'leased' AND OLD.state <> 'leased') EXECUTE FUNCTION claimed()""",
)
READ = """SELECT reports, worker, claimed_at, done_at FROM score_chunk JOIN claimed USING (seq)
    WHERE job_id = :job"""

# written down before the first run
EXPECTED = {
    "rescore_over_encode": ".001 to .002: 100 microseconds beside 100 milliseconds",
    "two_workers_over_one": "1.9 to 2.0 on quiet cores",
    "two_dask_workers_over_one": "1.85 to 2.0: scheduler and asking process take a little of both cores",
    "flat_largest_over_smallest": "1.0 to 1.3: keys of a larger table are looked up deeper",
}


def rescore(scale: float) -> dict[str, Figure]:
    reports = max(1000, int(1_000_000 * scale))
    with tempfile.TemporaryDirectory(prefix="laudos-bench-") as name:
        folder = Path(name)
        settings = build(folder, f"sqlite:///{folder}/laudos.db", "minilm").settings()
        engine, predictor = open_database(settings), champion(settings)
        made = texts(ENCODED, MIXES["natural"], seed=5)
        predictor.predict(made[:5])
        began = time.perf_counter()
        predictor.predict(made, batch_tokens=settings.scoring.batch_tokens)
        encode_s = (time.perf_counter() - began) / len(made)
        fill(engine, reports)
        store_vectors(engine, predictor, 1.0)
        began = time.perf_counter()
        job = backlogs.cut(engine, _champion_id(engine), settings.scoring.chunk_reports_max)
        told = work_on(engine, settings, job)
        rescore_s = (time.perf_counter() - began) / reports
    if (told.written, told.encoded) != (reports, 0):
        raise SystemExit(f"{told.written} of {reports} reports were written, {told.encoded} encoded")
    return {
        "rescore_over_encode": Figure(
            rescore_s / encode_s, "ratio", n=reports, expected=EXPECTED["rescore_over_encode"]
        ),
        "rescore_per_report": Figure(1e6 * rescore_s, "microseconds", n=reports),
        "encode_per_report": Figure(1e3 * encode_s, "milliseconds", n=ENCODED),
    }


def workers(scale: float) -> dict[str, Figure]:
    def run(folder: Path, _engine: Engine, _job: Job, cores: Sequence[int]) -> None:
        words = ("flows.cli.app", "--config", str(folder / "laudos.toml"), "worker", "--json")
        started = [_pinned(core, *words) for core in cores]
        codes = [process.wait() for process in started]
        if any(codes):
            raise SystemExit("a worker failed")

    return _two_over_one("", scale, run)


def dask(scale: float) -> dict[str, Figure]:
    def run(folder: Path, engine: Engine, job: Job, cores: Sequence[int]) -> None:
        where = folder / "scheduler.json"
        where.unlink(missing_ok=True)
        own = ("--no-dashboard", "--scheduler-file", str(where))
        started = [_plain("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *own)]
        try:
            while not where.exists():
                time.sleep(0.1)
            one = ("distributed.cli.dask_worker", *own, "--nthreads", "1", "--no-nanny")
            started += [_pinned(core, *one) for core in cores]
            score_on_cluster(engine, Settings.load(), job, json.loads(where.read_text())["address"])
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()

    return _two_over_one("dask_", scale, run)


def _two_over_one(
    kind: str, scale: float, run: Callable[[Path, Engine, Job, Sequence[int]], None]
) -> dict[str, Figure]:
    rates: dict[int, list[float]] = {1: [], 2: []}
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two workers need two cores")
    with tempfile.TemporaryDirectory(prefix="laudos-bench-") as name, scratch("postgres") as url:
        folder = Path(name)
        settings = build(folder, url, "demo").settings()
        engine = open_database(settings)
        receive(engine, texts(max(600, int(4000 * scale)), MIXES["natural"], seed=6))
        with writing(engine) as c:
            for statement in CLAIMS:
                c.execute(text(statement))
        for hands in (1, 2, 2, 1, 1, 2):
            job = _cut_anew(engine, settings)
            run(folder, engine, job, cores[:hands])
            rates[hands].append(_rate(engine, job, hands))
        engine.dispose()
    pairs = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    ratio = f"two_{kind}workers_over_one"
    return {
        ratio: Figure(median(pairs), "ratio", min(pairs), max(pairs), len(pairs), EXPECTED[ratio]),
        f"one_{kind}worker_reports_per_s": Figure(median(rates[1]), "reports/s"),
        f"two_{kind}workers_reports_per_s": Figure(median(rates[2]), "reports/s"),
    }


def _plain(*words: str) -> subprocess.Popen[bytes]:
    return _started((sys.executable, "-m", *words))


def _pinned(core: int, *words: str) -> subprocess.Popen[bytes]:
    return _started(("taskset", "-c", str(core), sys.executable, "-m", *words))


def _started(words: Sequence[str]) -> subprocess.Popen[bytes]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL)


def _cut_anew(engine: Engine, settings: Settings) -> Job:
    """A job of all reports, none of which has been scored or encoded, in chunks as `laudos classify` cuts."""
    with writing(engine) as c:
        c.execute(text("DELETE FROM claimed"))
        for table in (prediction, feature, score_chunk, shift_test, score_job):
            c.execute(delete(table))
    sizes = settings.scoring.chunk_reports_max, settings.scoring.chunk_reports_min
    return backlogs.cut(engine, _champion_id(engine), *sizes)


def _rate(engine: Engine, job: Job, hands: int) -> float:
    """Reports a second of a job that so many workers did.

    Their start is left out: what counts begins with the first chunk of the last one to come. Of what the
    others were reading then, the share of its time that came after counts.
    """
    with reading(engine) as c:
        chunks = c.execute(text(READ), {"job": job.id}).all()
    if sum(row.reports for row in chunks) != job.reports:
        raise SystemExit(f"job {job.id} is not done")
    first: dict[str, datetime] = {}
    for row in sorted(chunks, key=lambda row: row.claimed_at):
        first.setdefault(row.worker, row.claimed_at)
    if len(first) != hands:
        raise SystemExit(f"{len(first)} of {hands} workers came in time")
    began, ended = max(first.values()), max(row.done_at for row in chunks)
    read = sum(
        row.reports * min(1.0, (row.done_at - began) / (row.done_at - row.claimed_at))
        for row in chunks
        if row.done_at > began
    )
    return float(read / (ended - began).total_seconds())


def flat(scale: float) -> dict[str, Figure]:
    sizes = [max(1000, int(size * scale)) for size in SIZES]
    took = {size: 1e6 / loop_over(size).reports_per_s for size in sizes}
    expected = EXPECTED["flat_largest_over_smallest"]
    return {
        **{f"flat_per_report_{size}": Figure(took[size], "microseconds", n=size) for size in sizes},
        "flat_largest_over_smallest": Figure(took[sizes[-1]] / took[sizes[0]], "ratio", expected=expected),
    }


def _champion_id(engine: Engine) -> int:
    with reading(engine) as c:
        found = models.champion_of(c, CLASSIFIER)
    assert found is not None
    return found.model.id
