"""A plain worker: it joins every scoring job under way, with no run and no Prefect of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from db import scoring
from db.engine import reading
from db.scoring import Job
from tasks.apart import work_apart
from tasks.claims import what_is_left, work_on
from tasks.database import open_database
from tasks.progress import progress_bar
from tasks.scorer import ScoreSummary
from tasks.settings import Settings

POLL_S = 5.0


@dataclass(frozen=True)
class Worked:
    """What a worker did itself, and in which jobs."""

    jobs: tuple[int, ...]
    written: int
    review: int
    encoded: int
    identical: int
    from_features: int
    quarantined: int
    by_student: int
    withheld: int


def score_job(engine: Engine, settings: Settings, job: Job) -> ScoreSummary:
    """Work on a job until no chunk of it is free. Safe to repeat, and by several workers at once."""
    with progress_bar(f"{job.classifier}: reports scored") as progress:
        scored = work_on(engine, settings, job, progress, deaths_max=0)
    # what workers died over comes last, and where it can kill nothing but a process of its own
    apart = work_apart(engine, settings, job)
    return replace(scored + apart, elsewhere=0, paused=0) + what_is_left(engine, job)


def work(settings: Settings, classifier: str | None = None, *, wait: bool = False) -> Worked:
    """Join jobs until none has a free chunk; with `wait` look again every POLL_S seconds, for ever.

    Whatever ends the process in good order, SIGTERM included, first gives its chunk back. Raises
    LaudosError where a job's model cannot be used here.
    """
    names = list(settings.classifiers) if classifier is None else [classifier]
    for name in names:
        settings.classifier(name)  # a mistyped name is told, not waited for
    engine, jobs, total = open_database(settings), list[int](), ScoreSummary()
    while True:
        before = total
        with reading(engine) as c:
            under_way = scoring.under_way(c, names)
        for job in under_way:
            scored = score_job(engine, settings, job)
            if scored.written or scored.quarantined:
                jobs.append(job.id)
                total += replace(scored, elsewhere=0, paused=0)
        if total == before and not wait:
            return _worked(jobs, total)
        if total == before:
            time.sleep(POLL_S)


def _worked(jobs: list[int], total: ScoreSummary) -> Worked:
    counts = {name: count for name, count in vars(total).items() if name not in ("elsewhere", "paused")}
    return Worked(tuple(dict.fromkeys(jobs)), **counts)
