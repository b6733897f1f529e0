"""Scoring jobs: chunks are claimed under a lease and finished under a fence.

    cut -> claim -> (compute, no transaction open) -> finish        every chunk, by any worker
                 -> renew while it takes long
                 -> give_back when the worker stops in good order

A lease says how long a silent worker keeps its chunk. It is only a courtesy that saves work: what
makes writing exact is the fence, which rises with every claim and must still be the same when the
worker finishes. A worker that lost its chunk gets StaleLease and has written nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    case,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from db.errors import StaleLease
from db.predictions import Scored, add
from db.tables import score_chunk, score_job

JobState = Literal["open", "paused", "done", "stopped"]


@dataclass(frozen=True)
class Job:
    """One backlog to score with one model."""

    id: int
    classifier: str
    model_id: int
    state: JobState
    reports: int
    run_id: int
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Chunk:
    """A claimed range of version ids, both ends included; `fence` is this claim's right to write."""

    job_id: int
    seq: int
    first_version_id: int
    last_version_id: int
    reports: int
    fence: int


@dataclass(frozen=True)
class Progress:
    """How far a job is: chunks by state, and what the finished ones wrote."""

    open: int
    leased: int
    done: int
    written: int
    encoded: int


def lease_clock(c: Connection) -> datetime:
    """Now, by the one clock that all workers of this database share.

    PostgreSQL's own: workers on several machines never compare two clocks. SQLite's workers share a
    machine, so it is the machine's.
    """
    if c.dialect.name == "postgresql":
        moment: datetime = c.execute(text("SELECT clock_timestamp()")).scalar_one()
        return moment.astimezone(UTC)
    return datetime.now(UTC)


def get(c: Connection, job_id: int) -> Job | None:
    row = c.execute(select(score_job).where(score_job.c.id == job_id)).one_or_none()
    return None if row is None else Job(**row._mapping)


def open_job(c: Connection, classifier: str, model_id: int) -> Job | None:
    """The unfinished job of this model, such as one that a killed worker left."""
    query = select(score_job).where(
        score_job.c.classifier == classifier, score_job.c.model_id == model_id, score_job.c.state == "open"
    )
    row = c.execute(query.order_by(score_job.c.id).limit(1)).one_or_none()
    return None if row is None else Job(**row._mapping)


def stop_former(c: Connection, classifier: str, champion_id: int, now: datetime) -> list[int]:
    """Stop open jobs of models that are champion no more; their workers can write no more. The jobs' ids."""
    former = select(score_job.c.id).where(
        score_job.c.classifier == classifier,
        score_job.c.model_id != champion_id,
        score_job.c.state == "open",
    )
    stopped = [int(job_id) for job_id in c.scalars(former.order_by(score_job.c.id))]
    c.execute(update(score_job).where(score_job.c.id.in_(stopped)).values(state="stopped", ended_at=now))
    c.execute(
        update(score_chunk)
        .where(score_chunk.c.job_id.in_(stopped), score_chunk.c.state == "leased")
        .values(state="open", fence=score_chunk.c.fence + 1, leased_by=None, leased_until=None)
    )
    return stopped


def claim(c: Connection, job_id: int, worker: str, lease: timedelta, now: datetime) -> Chunk | None:
    """Lease the next chunk nobody works on; None when there is none. `now` is `lease_clock`'s.

    On PostgreSQL SKIP LOCKED lets workers claim at once without waiting for each other; SQLite leaves
    that clause out and has a single writer.
    """
    candidate = score_chunk.alias()
    free = (
        select(candidate.c.seq)
        .join(score_job, score_job.c.id == candidate.c.job_id)
        .where(candidate.c.job_id == job_id, score_job.c.state == "open", _claimable(candidate, lease, now))
        .order_by(candidate.c.seq)
        .limit(1)
        .with_for_update(of=candidate, skip_locked=True)
        # a scalar, not IN: PostgreSQL may evaluate IN (... LIMIT 1) more than once and lease two chunks
        .scalar_subquery()
    )
    taken = (
        update(score_chunk)
        .where(score_chunk.c.job_id == job_id, score_chunk.c.seq == free)
        .values(state="leased", fence=score_chunk.c.fence + 1, leased_by=worker, leased_until=now + lease)
        .returning(*(score_chunk.c[name] for name in Chunk.__dataclass_fields__))
    )
    row = c.execute(taken).one_or_none()
    return None if row is None else Chunk(*row)


def _claimable(chunk: FromClause, lease: timedelta, now: datetime) -> ColumnElement[bool]:
    """Open, or its lease ran out. One far ahead of any lease given now is a clock's that jumped back."""
    expired = or_(chunk.c.leased_until < now, chunk.c.leased_until > now + 2 * lease)
    return or_(chunk.c.state == "open", and_(chunk.c.state == "leased", expired))


def renew(c: Connection, chunk: Chunk, lease: timedelta, now: datetime) -> None:
    """Say that the worker still lives. Raises StaleLease if the chunk is another's by now."""
    _change_own(c, chunk, leased_until=now + lease)


def give_back(c: Connection, chunk: Chunk) -> None:
    """Let another worker have the chunk at once. Raises StaleLease if one has it already."""
    _change_own(c, chunk, state="open", leased_by=None, leased_until=None)


def lessees(c: Connection, job_id: int) -> set[str]:
    """The workers that hold chunks of the job."""
    query = select(score_chunk.c.leased_by).where(
        score_chunk.c.job_id == job_id, score_chunk.c.state == "leased", score_chunk.c.leased_by.is_not(None)
    )
    return set(c.scalars(query))


def release(c: Connection, job_id: int, workers: Collection[str]) -> int:
    """Open the chunks of workers known to be dead without waiting for their leases; how many."""
    dead = (
        score_chunk.c.job_id == job_id,
        score_chunk.c.state == "leased",
        score_chunk.c.leased_by.in_(workers),
    )
    return c.execute(
        update(score_chunk).where(*dead).values(state="open", leased_by=None, leased_until=None)
    ).rowcount


def finish(
    c: Connection, chunk: Chunk, predictions: Sequence[Scored], *, encoded: int, backend: str, now: datetime
) -> None:
    """Write the chunk's predictions and end it, and with the last chunk the job.

    Raises StaleLease, with nothing written, when the chunk was claimed by another worker meanwhile or
    its job was stopped: the fence is checked by the same statement that ends the chunk.
    """
    _change_own(
        c, chunk, state="done", done_at=now, leased_by=None, leased_until=None,
        encoded=encoded, written=len(predictions),
    )  # fmt: skip
    model_id = c.execute(select(score_job.c.model_id).where(score_job.c.id == chunk.job_id)).scalar_one()
    add(
        c,
        predictions,
        model_id=model_id,
        backend=backend,
        job_id=chunk.job_id,
        chunk_seq=chunk.seq,
        fence=chunk.fence,
        now=now,
    )
    _end_job(c, chunk.job_id, now)


def _change_own(c: Connection, chunk: Chunk, **values: Any) -> None:
    own = (
        score_chunk.c.job_id == chunk.job_id,
        score_chunk.c.seq == chunk.seq,
        score_chunk.c.state == "leased",
        score_chunk.c.fence == chunk.fence,
    )
    if c.execute(update(score_chunk).where(*own).values(**values)).rowcount != 1:
        raise StaleLease(
            f"chunk {chunk.seq} of job {chunk.job_id} was taken over, or its job was stopped; "
            "what this worker computed for it is not written"
        )


def _end_job(c: Connection, job_id: int, now: datetime) -> None:
    """Close the job if this was its last chunk."""
    # the job's row is locked first: two workers that finish the last two chunks at once would otherwise
    # each see the other's still open, and the job would stay open for ever
    c.execute(select(score_job.c.id).where(score_job.c.id == job_id).with_for_update())
    unfinished = exists().where(score_chunk.c.job_id == job_id, score_chunk.c.state != "done")
    complete = (score_job.c.id == job_id, score_job.c.state == "open", ~unfinished)
    c.execute(update(score_job).where(*complete).values(state="done", ended_at=now))


def progress(c: Connection, job_id: int) -> Progress:
    """How far the job is."""

    def chunks(state: str) -> ColumnElement[int]:
        return func.count(case((score_chunk.c.state == state, 1)))

    query = select(
        chunks("open"),
        chunks("leased"),
        chunks("done"),
        func.coalesce(func.sum(score_chunk.c.written), 0),
        func.coalesce(func.sum(score_chunk.c.encoded), 0),
    ).where(score_chunk.c.job_id == job_id)
    return Progress(*(int(value) for value in c.execute(query).one()))
