"""What a worker of a Dask cluster is asked to do: say who it is, and score for some seconds.

These two functions are all that laudos sends through Dask, by their names, with numbers and hashes for
arguments; they answer with numbers, versions and messages that are safe by contract. Reports come out of
the database and predictions go into it, past the scheduler. Nothing is raised: an exception would travel
with whatever its message quotes.
"""

from __future__ import annotations

import hashlib
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, wraps
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sqlalchemy import Engine

from db import models, scoring
from db.engine import reading
from db.errors import ConfigurationError, DatabaseFailure
from db.scoring import Job
from tasks.database import open_database
from tasks.errors import safe_form
from tasks.ledger import code_revision
from tasks.model_folders import require_within_reach
from tasks.scoring.apart import work_apart
from tasks.scoring.claims import each_chunk
from tasks.scoring.scorer import Scorer, ScoreSummary, load_scorer
from tasks.scoring.workers import machine, worker_name
from tasks.settings.settings import Settings

# what computes numbers or carries them: with others a worker would answer differently, or not understand
ALIKE = ("torch", "transformers", "tokenizers", "numpy", "distributed")

# one thread at a time: several of one process bear one name, and would free each other's chunks
_ALONE = threading.Lock()

Answer = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A job, as whoever runs it knows it; nothing of it tells where the database is or what it holds.

    `machine` is set where the database is a file, which only processes of that machine can share.
    """

    job_id: int
    fingerprint: str
    settings_sha: str
    machine: str | None

    @classmethod
    def of(cls, engine: Engine, settings: Settings, job: Job) -> Asked:
        alone = machine() if engine.dialect.name == "sqlite" else None
        return cls(job.id, fingerprint(job), settings.sha(), alone)


def fingerprint(job: Job) -> str:
    """The same in every process that sees the same row: two databases may both have a job 7."""
    told = f"{job.id} {job.classifier} {job.model_id} {job.reports} {job.created_at.isoformat()}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """What must be the same in every process that scores a job."""
    told = {"laudos": code_revision(), "python": ".".join(platform.python_version_tuple()[:2])}
    for name in ALIKE:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            told[name] = "absent"
    return told


def _answering(body: Callable[..., Answer]) -> Callable[..., Answer]:
    """The body's answer, or its failure in words that are safe by contract."""

    @wraps(body)
    def answered(asked: tuple[Any, ...], *more: float) -> Answer:
        try:
            return body(Asked(*asked), *more)
        except Exception as error:
            safe = safe_form(error)
            return {"fault": str(safe), "passing": isinstance(safe, DatabaseFailure) and safe.retryable}

    return answered


def greet(asked: tuple[Any, ...]) -> Answer:
    """{"versions": ...}, and "worker", its name on leases, or "fault", why it cannot help."""
    return {"versions": versions(), **_greeting(asked)}


@_answering
def _greeting(asked: Asked) -> Answer:
    engine, settings, job = _joined(asked)
    with reading(engine) as c:
        model = models.existing(c, job.model_id)
    require_within_reach(settings, model)
    return {"worker": worker_name()}


@_answering
def help_with(asked: Asked, seconds: float) -> Answer:
    """Score chunk after chunk for about so many seconds; {"counts": ..., "more": whether any was left}."""
    with _ALONE:
        until = time.monotonic() + seconds
        engine, settings, job = _joined(asked)
        total, more = ScoreSummary(), False
        scorer = _scorer(asked, settings.database)
        for _, scored in each_chunk(engine, settings, job, deaths_max=0, scorer=scorer):
            total += scored
            if more := time.monotonic() >= until:
                break
        if not more:
            # what workers died over comes last, and where it can kill nothing but a process of its own
            total += work_apart(engine, settings, job)
    return {"counts": asdict(total), "more": more}


def _joined(asked: Asked) -> tuple[Engine, Settings, Job]:
    """The database and the job as this process sees them. Raises where they are others than were meant."""
    if asked.machine is not None and asked.machine != machine():
        raise ConfigurationError(
            "the database is an SQLite file, which processes of other machines and containers cannot share; "
            "take PostgreSQL (docs/operating.md), or workers on its machine"
        )
    settings = Settings.load()
    if settings.sha() != asked.settings_sha:
        raise ConfigurationError(
            "its settings are others; start it with the same laudos.toml (LAUDOS_CONFIG) and LAUDOS_... "
            "variables"
        )
    engine = open_database(settings)
    with reading(engine) as c:
        job = scoring.get(c, asked.job_id)
    if job is None or fingerprint(job) != asked.fingerprint:
        raise ConfigurationError(
            f"its database is another one: it has no such job {asked.job_id}; "
            "let `database` in its laudos.toml name the same"
        )
    return engine, settings, job


@lru_cache(maxsize=1)
def _scorer(asked: Asked, database: str) -> Scorer:
    """The job's model, which stays in memory until another job's, or one in another `database`."""
    return load_scorer(*_joined(asked))
