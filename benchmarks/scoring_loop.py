"""One worker over one whole backlog with a model as fast as a hash: prints its peak memory and its time.

A process of its own, so that nothing else's memory is in the figure; `benchmarks.predictions` starts it.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from sqlalchemy import Engine

from benchmarks.backlogs import LABELS, new_model
from db import backlog, scoring
from db.engine import writing
from db.scoring import Job
from tasks.database import open_database
from tasks.ml.memory import peak_mib
from tasks.ml.network.artifact import LaudosJson
from tasks.ml.network.conformal import Thresholds
from tasks.scoring import claims, scorer
from tasks.settings.settings import Settings
from tasks.torture.standin import StandIn

CLASSIFIER = "achado"
ENCODER = "e" * 64
HIDDEN = 8


def stand_in() -> StandIn:
    """A predictor of no folder."""
    facts = LaudosJson(
        classifier=CLASSIFIER,
        labels=LABELS,
        critical=LABELS[1],
        window_tokens=256,
        stride_tokens=64,
        encoder_sha=ENCODER,
        snapshot_sha="0" * 64,
        seed=0,
        created_at=datetime.now(UTC),
        thresholds=Thresholds((0.5, 0.5), (100, 100), (0.05, 0.05)),
    )
    weight = np.random.default_rng(7).normal(0, 1, (len(LABELS), HIDDEN))
    nothing = cast(Any, None)
    return StandIn(facts, "0" * 64, nothing, nothing, weight, np.zeros(len(LABELS)), None)


def cut(engine: Engine, settings: Settings) -> Job:
    model_id = new_model(engine, ENCODER)
    now = datetime.now(UTC)
    with writing(engine) as c:
        job_id = backlog.cut(
            c, CLASSIFIER, model_id, sources=None, chunk_reports_min=settings.scoring.chunk_reports_min,
            chunk_reports_max=settings.scoring.chunk_reports_max, run_id=1, now=now,
        )  # fmt: skip
        job = None if job_id is None else scoring.get(c, job_id)
    if job is None:
        raise SystemExit("nothing waits")
    return job


def main() -> None:
    settings = Settings.load()
    engine = open_database(settings)
    predictor = stand_in()
    claims.load_scorer = lambda engine, settings, job: scorer.Scorer(engine, settings, job, predictor)
    began = time.perf_counter()
    job = cut(engine, settings)
    cut_s = time.perf_counter() - began
    before = peak_mib()
    told = claims.work_on(engine, settings, job)
    took = time.perf_counter() - began - cut_s
    if told.written != job.reports or told.elsewhere:
        raise SystemExit(f"job {job.id} ended with {told.written} of {job.reports} predictions")
    figures = {"peak_mib": peak_mib(), "before_mib": before, "cut_s": cut_s}
    print(json.dumps({**figures, "reports_per_s": told.written / took}))


if __name__ == "__main__":
    main()
