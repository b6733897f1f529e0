"""Scoring a backlog: what the flow costs beside the bare engine, an estimate's error, and more workers.

    python -m benchmarks.scoring                      everything: an hour or so on two quiet cores
    python -m benchmarks.scoring --only flow --only estimate
    python -m benchmarks.scoring --scale 0.1          a quick look

Networks run on one thread. Reports are sentences of synthetic cytology reports, their lengths drawn as those
of public corpora spread (benchmarks/scoring_ground.py).

**flow**: the real `classify` flow, Prefect, SQL, leases and windows included, against `Predictor.predict`
on the same texts in memory, all at once; by turns, each flow on a fresh copy of the database. What the flow
takes for a single report (loading the model, Prefect's two tasks) is its set-up: read apart, and taken off.
Beside wall time the processor time of this process, which a busy machine disturbs less.
**estimate**: `laudos estimate`, then the flow on the same backlog, for each mix of lengths, and for one of
which half was read before. In processor time, too.
**rescore**, **workers**, **dask**, **flat**: see benchmarks/scoring_bulk.py.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import torch

from benchmarks import scoring_bulk
from benchmarks.backlogs import CLASSIFIER
from benchmarks.record import Figure, add, tell
from benchmarks.scoring_ground import MIXES, House, Network, build, champion, receive, store_vectors, texts
from tasks.database import open_database
from tasks.scoring import estimate
from tasks.settings.settings import prepare_environment

COMMAND = "python -m benchmarks.scoring"
REPETITIONS = 3
# of each mix, about as many words
ESTIMATED = {"short": 6000, "natural": 2000, "long": 1000}

# written down before the first run
EXPECTED = {
    "flow_over_engine": ".96 to 1.01: 1.2 % more is computed than of the whole at once, but tokens are ahead",
    "flow_over_engine_processor_time": ".92 to .95: what is done ahead is done all the same",
    "flow_setup": "1 to 3: the model, and Prefect's two tasks",
    "estimate_error": ".03 to .1 on a quiet machine",
    "estimate_error_processor_time": ".02 to .08",
} | scoring_bulk.EXPECTED


@dataclass(frozen=True)
class Took:
    """Seconds: by the clock, and of this process's processor time."""

    wall_s: float
    processor_s: float

    def less(self, other: Took) -> Took:
        return Took(self.wall_s - other.wall_s, self.processor_s - other.processor_s)


def timed(work: Callable[[], object]) -> Took:
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - processor)


@contextmanager
def house(network: Network, made: Sequence[str]) -> Iterator[House]:
    """A house on SQLite with these reports, none of them scored, and a Prefect server to report to."""
    with tempfile.TemporaryDirectory(prefix="laudos-bench-") as name:
        folder = Path(name)
        built = build(folder, f"sqlite:///{folder}/laudos.db", network)
        settings = built.settings()
        receive(open_database(settings), made)
        prepare_environment(settings)
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=90):
            yield built


def classify(built: House) -> Took:
    """The flow on a fresh copy of the house."""
    from flows.classify import classify as flow

    with tempfile.TemporaryDirectory(prefix="laudos-bench-") as name:
        copy = built.copy(Path(name))
        settings = copy.settings()
        open_database(settings)
        told = timed(lambda: flow(classifier=CLASSIFIER))
        open_database(settings).dispose()
    built.settings()
    return told


def flow(scale: float, network: Network = "demo") -> dict[str, Figure]:
    """The whole flow's rate as a share of the bare engine's."""
    made = texts(max(100, int(8000 * scale)), MIXES["natural"], seed=3)
    with house(network, made[:1]) as one:
        setup = sorted((classify(one) for _ in range(3)), key=lambda took: took.wall_s)[1]
    flows, engines = [], []
    with house(network, made) as built:
        predictor = champion(built.settings())
        batch_tokens = built.settings().scoring.batch_tokens

        def engine() -> None:
            engines.append(timed(lambda: predictor.predict(made, batch_tokens=batch_tokens)))

        def whole() -> None:
            flows.append(classify(built).less(setup))

        for repetition in range(REPETITIONS):
            for side in (engine, whole) if repetition % 2 else (whole, engine):
                side()
    pairs = list(zip(engines, flows, strict=True))
    return {
        "flow_over_engine": _figure(
            "flow_over_engine", [bare.wall_s / whole.wall_s for bare, whole in pairs], "share"
        ),
        "flow_over_engine_processor_time": _figure(
            "flow_over_engine_processor_time",
            [bare.processor_s / whole.processor_s for bare, whole in pairs],
            "share",
        ),
        "flow_setup": Figure(setup.wall_s, "s", expected=EXPECTED["flow_setup"]),
        "engine_reports_per_s": _figure("", [len(made) / bare.processor_s for bare in engines], "reports/s"),
    }


def estimated(scale: float) -> dict[str, Figure]:
    """How far `laudos estimate` was off, the sign kept for each backlog."""
    off = {name: error(name, int(count * scale), 0.0) for name, count in ESTIMATED.items()}
    off["half_known"] = error("natural", int(2 * ESTIMATED["natural"] * scale), 0.5)
    figures = {}
    for name, at in (("estimate_error", 0), ("estimate_error_processor_time", 1)):
        sizes = [abs(errors[at]) for errors in off.values()]
        figures[name] = Figure(
            median(sizes),
            "of the time, either way",
            min(sizes),
            max(sizes),
            len(sizes),
            EXPECTED[name],
        )
    for backlog, errors in off.items():
        figures[f"estimate_off_{backlog}"] = Figure(errors[0], "of the actual time")
    return figures


def error(mix: str, reports: int, known: float) -> tuple[float, float]:
    """(estimated - actual) / actual of one backlog, by the clock and in processor time."""
    with house("demo", texts(max(100, reports), MIXES[mix], seed=4)) as built:
        engine = open_database(built.settings())
        if known:
            store_vectors(engine, champion(built.settings()), known)
        told = [_estimate(built, clock) for clock in (time.perf_counter, time.process_time)]
        took = classify(built)
    return told[0] / took.wall_s - 1, told[1] / took.processor_s - 1


def _estimate(built: House, clock: Callable[[], float]) -> float:
    """Seconds by one of two clocks; the command itself knows only that on the wall."""
    estimate.time = SimpleNamespace(perf_counter=clock)  # type: ignore[attr-defined]
    try:
        return estimate.estimate(built.settings(), sample_s=10.0).plan.seconds
    finally:
        estimate.time = time  # type: ignore[attr-defined]


def _figure(name: str, values: Sequence[float], unit: str) -> Figure:
    return Figure(median(values), unit, min(values), max(values), len(values), EXPECTED.get(name, ""))


def main(words: Sequence[str] | None = None) -> None:
    parts: dict[str, Callable[[float], dict[str, Figure]]] = {
        "flow": flow,
        "estimate": estimated,
        "rescore": scoring_bulk.rescore,
        "workers": scoring_bulk.workers,
        "dask": scoring_bulk.dask,
        "flat": scoring_bulk.flat,
    }
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--only", action="append", choices=list(parts))
    parser.add_argument("--scale", type=float, default=1.0, help="size of every backlog")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    for part in asked.only or parts:
        figures = parts[part](asked.scale)
        tell(figures)
        if asked.scale == 1.0:
            add("scoring", COMMAND, figures)


if __name__ == "__main__":
    main()
