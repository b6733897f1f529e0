"""Writing predictions, measured against the driver's best; and the memory of scoring at two sizes.

    python -m benchmarks.predictions [--rows 100000] [--small 100000] [--large 1000000]

A share is ours over raw in one run, side by side, taking turns to begin. Raw is what the fastest loader
does with rows that lie ready: `executemany` of tuples on SQLite, one INSERT from arrays (`unnest`) on
PostgreSQL, into the same table with all its keys, a transaction a chunk. Ours is `finish` as a worker
calls it: the fence is checked, predictions become rows, the chunk ends, and at last the job. Both flush
to disk as these databases do unless told otherwise.

Memory is the peak of a process that scores a whole backlog of very short reports with a model as fast as
a hash; claiming, reading, storing vectors and predictions are real.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, func, select

from benchmarks.backlogs import CLASSIFIER, LABELS, cut, fill, new_model
from benchmarks.record import Figure, tell, write
from db import predictions, schema, scoring
from db.engine import open_engine, reading, writing
from db.errors import ConfigurationError
from db.predictions import Scored
from db.scoring import Job
from db.tables import as_stored, prediction
from tasks.torture.server import scratch_server

COMMAND = "python -m benchmarks.predictions"
CHUNK_REPORTS = 1000
LEASE = timedelta(hours=1)

# written down before the first run
EXPECTED = {
    "sqlite_share_of_raw": ".7 to .8: tuples and JSON are made in Python, the rest is the same",
    "postgres_share_of_raw": ".85 to .95: the server does most of the work on both sides",
    "scoring_memory_1m_over_100k": "1.0 to 1.05: a chunk is all that is held",
}


def scored(rows: int) -> list[Scored]:
    """A prediction for each of the first report versions, as a predictor makes them."""
    rng = np.random.default_rng(7)
    shares = rng.uniform(0, 1, rows).tolist()
    return [
        Scored(
            version,
            LABELS[share > 0.5],
            {"benigno": 1 - share, "maligno": share},
            "auto" if abs(share - 0.5) > 0.2 else "review",
            230,
            230,
        )
        for version, share in enumerate(shares, start=1)
    ]


def ours(engine: Engine, model_id: int, made: Sequence[Scored]) -> float:
    """Seconds for the chunks' finishing transactions, the job's end included."""
    job = cut(engine, model_id, CHUNK_REPORTS)
    seconds, start = 0.0, 0
    while True:
        with writing(engine) as c:
            chunk = scoring.claim(c, job.id, "benchmark", LEASE, scoring.lease_clock(c))
        if chunk is None:
            break
        some = made[start : start + chunk.reports]
        start += chunk.reports
        began = time.perf_counter()
        with writing(engine) as c:
            now = scoring.lease_clock(c)
            scoring.finish(c, chunk, some, encoded=len(some), backend="torch-fp32", now=now)
        seconds += time.perf_counter() - began
    _require_done(engine, job, len(made))
    return seconds


def raw(engine: Engine, model_id: int, made: Sequence[Scored]) -> float:
    """Seconds for the same rows, ready beforehand, straight through the driver."""
    job = cut(engine, model_id, CHUNK_REPORTS)
    at = as_stored(datetime.now(UTC), engine.dialect)
    rows = [
        (model_id, one.report_version_id, one.label, written, one.decision, one.tokens_seen,
         one.tokens_total, "torch-fp32", job.id, 1, 1, at)
        for one, written in zip(made, predictions.as_json([one.probabilities for one in made]), strict=True)
    ]  # fmt: skip
    load = _unnest if engine.dialect.name == "postgresql" else _executemany
    connection = engine.raw_connection()
    try:
        return sum(
            load(connection.driver_connection, rows[start : start + CHUNK_REPORTS])
            for start in range(0, len(rows), CHUNK_REPORTS)
        )
    finally:
        connection.close()


def _executemany(driver: Any, rows: Sequence[tuple[Any, ...]]) -> float:
    places = ", ".join("?" * len(rows[0]))
    began = time.perf_counter()
    driver.execute("BEGIN IMMEDIATE")
    driver.executemany(f"INSERT INTO prediction VALUES ({places})", rows)
    driver.execute("COMMIT")
    return time.perf_counter() - began


_UNNEST = """
    INSERT INTO prediction
    SELECT %s, version_id, label, probabilities, decision, seen, total, %s, %s, %s, %s, %s
    FROM unnest(%s::bigint[], %s::text[], %s::json[], %s::text[], %s::integer[], %s::integer[])
         AS scored (version_id, label, probabilities, decision, seen, total)
    """


def _unnest(driver: Any, rows: Sequence[tuple[Any, ...]]) -> float:
    model_id, *_, backend, job_id, seq, fence, at = rows[0]
    columns = [list(column) for column in list(zip(*rows, strict=True))[1:7]]
    began = time.perf_counter()
    with driver.cursor() as cursor:
        cursor.execute(_UNNEST, [model_id, backend, job_id, seq, fence, at, *columns])
    driver.commit()
    return time.perf_counter() - began


def _require_done(engine: Engine, job: Job, rows: int) -> None:
    with reading(engine) as c:
        ended = scoring.get(c, job.id)
        count = c.scalar(select(func.count()).where(prediction.c.model_id == job.model_id))
    if ended is None or ended.state != "done" or count != rows:
        raise SystemExit(f"job {job.id} ended with {count} of {rows} predictions")


def shares(engine: Engine, name: str, rows: int, repetitions: int) -> dict[str, Figure]:
    """Ours over raw, and both as rows a second."""
    fill(engine, rows)
    made = scored(rows)
    taken: dict[Callable[..., float], list[float]] = {ours: [], raw: []}
    for repetition in range(repetitions + 1):
        for side in (ours, raw) if repetition % 2 else (raw, ours):
            taken[side].append(side(engine, new_model(engine), made))
    # the first of each warms up caches and statements
    pairs = list(zip(taken[ours][1:], taken[raw][1:], strict=True))
    return {
        f"{name}_share_of_raw": _median(
            [theirs / mine for mine, theirs in pairs], "share", f"{name}_share_of_raw"
        ),
        f"{name}_rows_per_s": _median([rows / mine for mine, _ in pairs], "rows/s"),
        f"{name}_raw_rows_per_s": _median([rows / theirs for _, theirs in pairs], "rows/s"),
    }


def _median(values: Sequence[float], unit: str, name: str = "") -> Figure:
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return Figure(middle, unit, ordered[0], ordered[-1], len(ordered), EXPECTED.get(name, ""))


@contextmanager
def scratch(kind: str) -> Iterator[str]:
    """The URL of an empty database with all tables, on a disk that is flushed. Raises ConfigurationError."""
    with tempfile.TemporaryDirectory(prefix="laudos-bench-") as folder:
        if kind == "sqlite":
            url = f"sqlite:///{folder}/laudos.db"
            schema.upgrade(url)
            yield url
            return
        with scratch_server(fsync=True) as server:
            url = server.new_database()
            schema.upgrade(url)
            yield url


# ------------------------------------------------------------------ memory


@dataclass(frozen=True)
class Loop:
    """A process that scored a whole backlog with a model as fast as a hash."""

    peak_mib: float
    before_mib: float
    cut_s: float
    reports_per_s: float


def loop_over(reports: int) -> Loop:
    """Score so many short reports on SQLite, in a process of its own (benchmarks/scoring_loop.py)."""
    with tempfile.TemporaryDirectory(prefix="laudos-bench-") as folder, scratch("sqlite") as url:
        engine = open_engine(url)
        fill(engine, reports)
        engine.dispose()
        configuration = Path(folder) / "laudos.toml"
        configuration.write_text(
            f'database = "{url}"\nfolder = "{folder}/data"\n[classifiers.{CLASSIFIER}]\n'
            f'labels = ["{LABELS[0]}", "{LABELS[1]}"]\ncritical = "{LABELS[1]}"\n',
            encoding="utf-8",
        )
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.scoring_loop"],
            env={**os.environ, "LAUDOS_CONFIG": str(configuration)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
    print(f"{reports:,} reports: {told.strip()}", flush=True)
    return Loop(**json.loads(told))


def memory(small: int, large: int) -> dict[str, Figure]:
    first, second = loop_over(small).peak_mib, loop_over(large).peak_mib
    expected = EXPECTED["scoring_memory_1m_over_100k"]
    return {
        f"scoring_memory_{_short(large)}_over_{_short(small)}": Figure(
            second / first, "ratio", expected=expected
        ),
        "scoring_memory_small": Figure(first, "MiB"),
        "scoring_memory_growth": Figure(second - first, "MiB"),
    }


def _short(reports: int) -> str:
    return f"{reports // 10**6}m" if reports >= 10**6 else f"{reports // 1000}k"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--rows", type=int, default=100_000, help="predictions a repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--small", type=int, default=100_000, help="reports of the smaller backlog")
    parser.add_argument("--large", type=int, default=1_000_000, help="reports of the larger backlog")
    asked = parser.parse_args(words)
    figures: dict[str, Figure] = {}
    for kind in ("sqlite", "postgres"):
        try:
            with scratch(kind) as url:
                engine = open_engine(url)
                figures |= shares(engine, kind, asked.rows, asked.repetitions)
                engine.dispose()
        except ConfigurationError as missing:
            print(f"left out: {missing}")
    figures |= memory(asked.small, asked.large)
    tell(figures)
    print(f"wrote {write('predictions', COMMAND, figures)}")


if __name__ == "__main__":
    main()
