"""A plain worker: it joins every scoring job under way, with no run and no Prefect of its own."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from db import ledger, models, scoring
from db.engine import reading
from db.errors import ConfigurationError, DatabaseFailure, LaudosError
from db.scoring import Job
from tasks.database import open_database
from tasks.ledger import code_revision
from tasks.ml.errors import MlError
from tasks.model_folders import require_within_reach
from tasks.progress import progress_bar
from tasks.scoring.apart import work_apart
from tasks.scoring.claims import what_is_left, work_on
from tasks.scoring.scorer import ScoreSummary
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 5.0
# before a job that could not be worked on is tried again: a shared folder may show a new model late
RETRY_S = 60.0


@dataclass(frozen=True)
class Worked:
    """What a worker did itself, and in which jobs. `failed`: job -> why it could not be worked on here."""

    jobs: tuple[int, ...]
    written: int
    review: int
    encoded: int
    identical: int
    from_features: int
    quarantined: int
    by_student: int
    withheld: int
    failed: dict[int, str] = field(default_factory=dict)


def score_job(engine: Engine, settings: Settings, job: Job) -> ScoreSummary:
    """Work on a job until no chunk of it is free. Safe to repeat, and by several workers at once."""
    with progress_bar(f"{job.classifier}: reports scored") as progress:
        scored = work_on(engine, settings, job, progress, deaths_max=0)
    # what workers died over comes last, and where it can kill nothing but a process of its own
    apart = work_apart(engine, settings, job)
    return replace(scored + apart, elsewhere=0, paused=0) + what_is_left(engine, job)


def work(settings: Settings, classifier: str | None = None, *, wait: bool = False) -> Worked:
    """Join jobs until none has a free chunk; with `wait` look again every POLL_S seconds, for ever.

    A job that this worker cannot or may not work on is left to others, and stops no other job. Whatever ends
    the process in good order, SIGTERM included, first gives its chunk back. Raises LaudosError where no job
    could be worked on, DatabaseFailure where the database is away.
    """
    if classifier is not None:
        settings.classifier(classifier)  # a mistyped name is told, not waited for
    engine, jobs, total = open_database(settings), list[int](), ScoreSummary()
    code_revision()  # of what was loaded: another laudos may be installed in its place while this one waits
    failures: dict[int, LaudosError | MlError] = {}
    again_at: dict[int, float] = {}
    while True:
        before = total
        if wait:
            settings = _read_anew(settings)
        names = list(settings.classifiers) if classifier is None else [classifier]
        with reading(engine) as c:
            under_way = scoring.under_way(c, names)
        for job in under_way:
            if time.monotonic() < again_at.get(job.id, 0.0):
                continue
            try:
                _require_fit(engine, settings, job)
                scored = score_job(engine, settings, job)
            except DatabaseFailure:
                raise
            except (LaudosError, MlError) as failure:
                if str(failure) != str(failures.get(job.id)):  # told once, not every minute
                    log.warning("job %d is left to others: %s", job.id, failure)
                failures[job.id], again_at[job.id] = failure, time.monotonic() + RETRY_S
                continue
            failures.pop(job.id, None)
            if scored.written or scored.quarantined:
                jobs.append(job.id)
                total += replace(scored, elsewhere=0, paused=0)
        if total == before and not wait:
            break
        if total == before:
            time.sleep(POLL_S)
    if failures and not jobs:
        raise next(iter(failures.values()))
    return _worked(jobs, total, failures)


def _read_anew(settings: Settings) -> Settings:
    """What laudos.toml says by now; as before where it makes no sense or names another database."""
    with suppress(ConfigurationError):
        now = Settings.load()
        if now.database == settings.database:
            return now
    return settings


def _require_fit(engine: Engine, settings: Settings, job: Job) -> None:
    """Raises ConfigurationError where this worker would answer otherwise than who cut the job, or not at all.

    With fewer sources, say, it would find no report in a chunk, and end it without reading it.
    """
    with reading(engine) as c:
        code, config = ledger.made_by(c, job.run_id)
        model = models.existing(c, job.model_id)
    if (code, config) != (code_revision(), settings.sha()):
        other = "another laudos" if config == settings.sha() else "other settings"
        raise ConfigurationError(
            f"job {job.id} of {job.classifier!r} was cut by {other} than this worker's; start it with the "
            'same laudos.toml, LAUDOS_... variables and version. "laudos classify" itself goes on with what '
            "an earlier one left"
        )
    require_within_reach(settings, model)


def _worked(jobs: list[int], total: ScoreSummary, failures: dict[int, LaudosError | MlError]) -> Worked:
    counts = {name: count for name, count in vars(total).items() if name not in ("elsewhere", "paused")}
    failed = {job_id: str(failure) for job_id, failure in failures.items()}
    return Worked(tuple(dict.fromkeys(jobs)), **counts, failed=failed)
