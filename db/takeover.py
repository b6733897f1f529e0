"""Chunks whose worker fell silent: opened for the next one, and narrowed down where workers die over them.

A worker that was killed may have been unlucky (a reboot, an operator, a full machine), or a report
killed it: a crash in native code, or memory that the kernel took back. Only counting tells:

    1st death over a chunk     it is open again, behind all chunks that nobody died over
    2nd                        it is halved; each half has one death to its name already
    each further one           the half it happened over is halved again
    2nd to a single report's   it is given up (quarantine, scoring_failed), and the rest is written
    name

One bad report among n costs 2 + log2(n) workers, rounded up. Kills from outside give up a healthy
report only where just as many of them, one run after the other, hit the chunk that holds it and each
time the half that does; a single kill never does. `laudos quarantine retry` lets it back in.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, insert, or_, select, update

from db import backlog, scoring
from db.erasure import held_off
from db.scoring import Job
from db.tables import report_version, score_chunk, score_job

# deaths over one chunk before it is suspected of causing them
DEATHS_TO_SUSPECT = 2


@dataclass(frozen=True)
class TakenOver:
    """What became of silent workers' chunks. `given_up`: report versions now in quarantine."""

    opened: int = 0
    halved: int = 0
    given_up: tuple[int, ...] = ()


def lessees(c: Connection, job_id: int) -> set[str]:
    """The workers that hold chunks of the job."""
    query = select(score_chunk.c.leased_by).where(
        score_chunk.c.job_id == job_id, score_chunk.c.state == "leased", score_chunk.c.leased_by.is_not(None)
    )
    return set(c.scalars(query))


def at_work(c: Connection, job_id: int, now: datetime) -> set[str]:
    """The workers whose lease on a chunk of the job has not run out. `now` is `scoring.lease_clock`'s."""
    query = select(score_chunk.c.leased_by).where(
        score_chunk.c.job_id == job_id, score_chunk.c.state == "leased", score_chunk.c.leased_until >= now
    )
    return set(c.scalars(query))


def put_back(c: Connection, job_id: int, worker: str) -> int:
    """Open what a worker holds that begins anew, as after a connection that broke in its hands; how many."""
    own = (
        score_chunk.c.job_id == job_id,
        score_chunk.c.state == "leased",
        score_chunk.c.leased_by == worker,
    )
    freed = {"state": "open", "leased_by": None, "leased_until": None}
    return c.execute(update(score_chunk).where(*own).values(freed)).rowcount


def suspects(c: Connection, job_id: int) -> int:
    """Free chunks of an open job that a worker died over."""
    query = select(func.count()).select_from(score_chunk.join(score_job))
    suspect = (score_chunk.c.job_id == job_id, score_chunk.c.state == "open", score_chunk.c.deaths > 0)
    return c.execute(query.where(*suspect, score_job.c.state == "open")).scalar_one()


def take_over(
    c: Connection,
    job: Job,
    dead: Collection[str],
    *,
    lease: timedelta,
    sources: Sequence[str] | None,
    now: datetime,
) -> TakenOver:
    """Open what workers known to be `dead` or silent past their lease hold, and narrow down killers.

    `now` is `scoring.lease_clock`'s; `sources` are the classifier's. Their former workers get StaleLease
    from then on.
    """
    silent = (
        score_chunk.c.job_id == job.id,
        score_chunk.c.state == "leased",
        or_(_ran_out(now), _is_ahead(lease, now), score_chunk.c.leased_by.in_(dead)),
    )
    # who gave itself a lease that is ahead may live: taken from it, but no sign that its chunk kills
    died = or_(_ran_out(now), score_chunk.c.leased_by.in_(dead))
    deaths = score_chunk.c.deaths + case((died, 1), else_=0)
    # looked for first: mostly there is none, and the lock below waits for all workers
    if c.scalar(select(score_chunk.c.seq).where(*silent).limit(1)) is None:
        return TakenOver()
    # a row in quarantine tells a text's hash: of one that is erased meanwhile none may be written. Asked for
    # before the job's row, as whoever ends a chunk does
    held_off(c)
    standing = scoring.held(c, job.id)
    if standing is None or standing.state != "open":
        return TakenOver()
    opened = c.execute(
        update(score_chunk)
        .where(*silent)
        .values(state="open", leased_by=None, leased_until=None, deaths=deaths)
        .returning(score_chunk)
    ).all()
    suspects = sorted((row for row in opened if row.deaths >= DEATHS_TO_SUSPECT), key=lambda row: row.seq)
    given_up: list[int] = []
    halved = 0
    for chunk in suspects:
        waiting = _waiting(c, job, sources, chunk)
        if len(waiting) > 1:
            _halve(c, chunk, waiting)
            halved += 1
        else:
            backlog.give_up(c, job.classifier, waiting, job.run_id, now, because=backlog.KILLED)
            _end(c, chunk, len(waiting), now)
            given_up += waiting
    scoring.end_if_complete(c, job.id, now)
    return TakenOver(len(opened), halved, tuple(given_up))


def _ran_out(now: datetime) -> ColumnElement[bool]:
    return score_chunk.c.leased_until < now


def _is_ahead(lease: timedelta, now: datetime) -> ColumnElement[bool]:
    """Far ahead of any lease given now: of a clock that jumped back, or of other settings."""
    return score_chunk.c.leased_until > now + 2 * lease


def _waiting(c: Connection, job: Job, sources: Sequence[str] | None, chunk: Row[Any]) -> list[int]:
    """The chunk's report versions that still wait, in order."""
    version_id = report_version.c.id
    ends = (chunk.first_version_id, chunk.last_version_id)
    ids = backlog.waiting(job.model_id, sources, ends).with_only_columns(version_id)
    return list(c.scalars(ids.order_by(version_id)))


def _halve(c: Connection, chunk: Row[Any], waiting: Sequence[int]) -> None:
    """Two chunks in the place of one, without a gap: what comes back into the range is covered, too."""
    lower = len(waiting) // 2
    last = waiting[lower - 1]
    one_death = DEATHS_TO_SUSPECT - 1
    c.execute(
        update(score_chunk)
        .where(score_chunk.c.job_id == chunk.job_id, score_chunk.c.seq == chunk.seq)
        .values(last_version_id=last, reports=lower, deaths=one_death)
    )
    seq = c.execute(
        select(func.max(score_chunk.c.seq) + 1).where(score_chunk.c.job_id == chunk.job_id)
    ).scalar_one()
    c.execute(
        insert(score_chunk).values(
            job_id=chunk.job_id,
            seq=seq,
            first_version_id=last + 1,
            last_version_id=chunk.last_version_id,
            reports=len(waiting) - lower,
            deaths=one_death,
        )
    )


def _end(c: Connection, chunk: Row[Any], reports: int, now: datetime) -> None:
    ended = {"state": "done", "done_at": now, "encoded": 0, "written": 0, "reports": reports}
    c.execute(
        update(score_chunk)
        .where(score_chunk.c.job_id == chunk.job_id, score_chunk.c.seq == chunk.seq)
        .values(ended)
    )
