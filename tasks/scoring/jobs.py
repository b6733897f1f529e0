"""Scoring jobs as a person handles them: which there are, stopping one, and letting it go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from db import audit, backlog, models, scoring, status
from db.engine import reading, writing
from db.errors import LaudosError
from db.scoring import Job
from db.status import JobStatus as JobStatus
from tasks.database import open_database
from tasks.person import person
from tasks.settings.settings import Settings

LISTED = 20


@dataclass(frozen=True)
class JobChanged:
    """A job's new state, how many chunks workers had to leave, and what to do next."""

    job: int
    classifier: str
    state: scoring.JobState
    chunks_taken_back: int
    next: str


def list_jobs(settings: Settings, classifier: str | None = None, *, every: bool = False) -> list[JobStatus]:
    """Scoring jobs, newest first: the last ones, or `every` one there ever was."""
    if classifier is not None:
        settings.classifier(classifier)  # a mistyped name is told, not answered with an empty list
    with reading(open_database(settings)) as c:
        now = scoring.lease_clock(c)
        return status.jobs(c, now, classifier=classifier, limit=None if every else LISTED)


def stop_job(settings: Settings, job_id: int) -> JobChanged:
    """Let no worker write for the job until it is resumed, the next scheduled runs included.

    Raises LaudosError where it is not under way.
    """
    now = datetime.now(UTC)
    with writing(open_database(settings)) as c:
        job = scoring.existing(c, job_id)
        if job.state != "open":
            raise LaudosError(f"there is nothing to stop: {_standing(job)}")
        taken_back = scoring.stop(c, job_id, "paused", now)
        _record(c, "stop", job, now, chunks_taken_back=taken_back)
    return JobChanged(job_id, job.classifier, "paused", taken_back, f"laudos jobs resume {job_id}")


def resume_job(settings: Settings, job_id: int) -> JobChanged:
    """Let a stopped job go on with the next `laudos classify`.

    Raises LaudosError where it is not stopped, or its model is champion no more.
    """
    now = datetime.now(UTC)
    with writing(open_database(settings)) as c:
        job = scoring.existing(c, job_id)
        backlog.hold_champion(c, job.classifier)
        champion = models.champion_of(c, job.classifier)
        if job.state == "paused" and (champion is None or champion.model.id != job.model_id):
            raise LaudosError(
                f"job {job_id} scores with model {job.model_id}, which is champion no more; "
                f'"laudos classify --classifier {job.classifier}" ends it and scores with the new one'
            )
        if not scoring.resume(c, job_id):
            raise LaudosError(f"there is nothing to resume: {_standing(job)}")
        _record(c, "resume", job, now)
    goes_on = f"laudos classify --classifier {job.classifier}"
    return JobChanged(job_id, job.classifier, "open", 0, goes_on)


def _standing(job: Job) -> str:
    told = {
        "open": 'is under way, and "laudos classify" works on it',
        "paused": f'is stopped already; "laudos jobs resume {job.id}" lets it go on',
        "done": "is done",
        "stopped": f"ended when model {job.model_id} was champion no more",
    }
    return f"job {job.id} of {job.classifier!r} {told[job.state]}"


def _record(c: Connection, action: str, job: Job, now: datetime, **detail: int) -> None:
    audit.record(c, actor=person(), action=action, subject=f"score job {job.id}", detail=detail, now=now)
