"""Scoring jobs: chunks are claimed under a lease and finished under a fence.

    cut -> claim -> (compute, no transaction open) -> finish        every chunk, by any worker
                 -> renew while it takes long
                 -> give_back when the worker stops in good order
                 -> db.takeover when it fell silent

A lease says how long a silent worker keeps its chunk. It is only a courtesy that saves work: what
makes writing exact is the fence, which rises with every claim and must still be the same when the
worker finishes. A worker that lost its chunk gets StaleLease and has written nothing.

On PostgreSQL, where transactions run side by side, each of them that touches chunks locks the job's
row first, then chunks: workers with a lock that they share (`joined`), whatever changes the job for
all of them with one that it has alone (`held`). So a job that was stopped has no worker left when
the stop is committed. SQLite has one writer at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, bindparam, case, exists, func, select, text, update

from db.errors import LaudosError, StaleLease
from db.predictions import Scored, add
from db.tables import champion, score_chunk, score_job

# paused: stopped by a person, until resumed; stopped: for good, its model is champion no more
JobState = Literal["open", "paused", "done", "stopped"]
UNFINISHED = ("open", "paused")


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
    model_id: int


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
    return _job(c, _GET, job=job_id)


def existing(c: Connection, job_id: int) -> Job:
    """`get`. Raises LaudosError where there is none of that number."""
    found = get(c, job_id)
    if found is None:
        raise LaudosError(f'there is no scoring job {job_id}; "laudos jobs list" shows which there are')
    return found


def unfinished_job(c: Connection, classifier: str, model_id: int) -> Job | None:
    """The job of this model that is open or paused, such as one that a killed worker left."""
    query = select(score_job).where(
        score_job.c.classifier == classifier,
        score_job.c.model_id == model_id,
        score_job.c.state.in_(UNFINISHED),
    )
    return _job(c, query.order_by(score_job.c.id).limit(1))


def under_way(c: Connection, classifiers: Sequence[str]) -> list[Job]:
    """Open jobs of these classifiers' champions, oldest first: what a worker may join."""
    query = (
        select(score_job)
        .join(champion, champion.c.model_id == score_job.c.model_id)
        .where(
            champion.c.classifier == score_job.c.classifier,
            score_job.c.classifier.in_(classifiers),
            score_job.c.state == "open",
        )
    )
    return [Job(**row._mapping) for row in c.execute(query.order_by(score_job.c.id))]


def joined(c: Connection, job_id: int) -> Job | None:
    """The job, which cannot be changed for all its workers until this worker's transaction ends."""
    return _job(c, _JOINED, job=job_id)


def held(c: Connection, job_id: int) -> Job | None:
    """The job, with no worker in the middle of a transaction on it until this one ends."""
    return _job(c, _HELD, job=job_id)


# a worker's statements are put together once: for a small chunk that costs as much as running them
_GET = select(score_job).where(score_job.c.id == bindparam("job"))
_JOINED = _GET.with_for_update(read=True, key_share=True)
_HELD = _GET.with_for_update()


def _job(c: Connection, query: Select[Any], **values: int) -> Job | None:
    row = c.execute(query, values).one_or_none()
    return None if row is None else Job(**row._mapping)


def stop_former(c: Connection, classifier: str, champion_id: int | None, now: datetime) -> list[int]:
    """End unfinished jobs of models that are champion no more, as `stop` does, but for good; their ids."""
    former = select(score_job.c.id).where(
        score_job.c.classifier == classifier,
        score_job.c.model_id.is_distinct_from(champion_id),
        score_job.c.state.in_(UNFINISHED),
    )
    ended = [int(job_id) for job_id in c.scalars(former.order_by(score_job.c.id))]
    for job_id in ended:
        stop(c, job_id, "stopped", now)
    return ended


def stop(c: Connection, job_id: int, state: Literal["paused", "stopped"], now: datetime) -> int:
    """Let no worker write for the job any more: leased chunks are open again behind a new fence; how many.

    An unfinished job only. `paused` holds until `resume`, `stopped` for good.
    """
    held(c, job_id)
    unfinished = (score_job.c.id == job_id, score_job.c.state.in_(UNFINISHED))
    ended_at = now if state == "stopped" else None
    c.execute(update(score_job).where(*unfinished).values(state=state, ended_at=ended_at))
    leased = (score_chunk.c.job_id == job_id, score_chunk.c.state == "leased")
    return c.execute(
        update(score_chunk)
        .where(*leased)
        .values(state="open", fence=score_chunk.c.fence + 1, leased_by=None, leased_until=None)
    ).rowcount


def resume(c: Connection, job_id: int) -> bool:
    """Open a paused job again; False where it is none."""
    paused = (score_job.c.id == job_id, score_job.c.state == "paused")
    return c.execute(update(score_job).where(*paused).values(state="open")).rowcount == 1


def claim(
    c: Connection, job_id: int, worker: str, lease: timedelta, now: datetime, *, deaths_max: int | None = None
) -> Chunk | None:
    """Lease the next chunk nobody works on; None when there is none. `now` is `lease_clock`'s.

    Chunks over which a worker died come last, or with `deaths_max` not at all once more have. On
    PostgreSQL SKIP LOCKED lets workers claim at once without waiting for each other; SQLite leaves
    that clause out and has a single writer.
    """
    job = joined(c, job_id)
    if job is None or job.state != "open":
        return None
    first = (
        _free(job_id, deaths_max)
        .order_by(_FREE.c.deaths, _FREE.c.seq)
        .limit(1)
        .with_for_update(skip_locked=True)
        # a scalar, not IN: PostgreSQL may evaluate IN (... LIMIT 1) more than once and lease two chunks
        .scalar_subquery()
    )
    taken = (
        update(score_chunk)
        .where(score_chunk.c.job_id == job_id, score_chunk.c.seq == first)
        .values(state="leased", fence=score_chunk.c.fence + 1, leased_by=worker, leased_until=now + lease)
        .returning(*(score_chunk.c[name] for name in _CLAIMED))
    )
    row = c.execute(taken).one_or_none()
    return None if row is None else Chunk(**row._mapping, model_id=job.model_id)


def is_any_free(c: Connection, job_id: int, *, deaths_max: int | None = None) -> bool:
    """Whether `claim` would find a chunk now."""
    job = get(c, job_id)
    if job is None or job.state != "open":
        return False
    return c.scalar(_free(job_id, deaths_max).limit(1)) is not None


def next_free(c: Connection, job_id: int, worker: str) -> tuple[int, int] | None:
    """The version ids at both ends of what this worker will claim next, if it is alone at the job.

    None where another worker holds a chunk, which may be the first to claim it; where none is free; and for
    one that a worker died over.
    """
    others = exists().where(
        score_chunk.c.job_id == job_id, score_chunk.c.state == "leased", score_chunk.c.leased_by != worker
    )
    query = select(_FREE.c.first_version_id, _FREE.c.last_version_id).where(
        _FREE.c.job_id == job_id, _FREE.c.state == "open", _FREE.c.deaths == 0, ~others
    )
    row = c.execute(query.order_by(_FREE.c.seq).limit(1)).one_or_none()
    return None if row is None else (row.first_version_id, row.last_version_id)


def _free(job_id: int, deaths_max: int | None) -> Select[Any]:
    free = select(_FREE.c.seq).where(_FREE.c.job_id == job_id, _FREE.c.state == "open")
    return free if deaths_max is None else free.where(_FREE.c.deaths <= deaths_max)


_FREE = score_chunk.alias("free")
_CLAIMED = ("job_id", "seq", "first_version_id", "last_version_id", "reports", "fence")


def renew(c: Connection, chunk: Chunk, lease: timedelta, now: datetime) -> None:
    """Say that the worker still lives. Raises StaleLease if the chunk is another's by now."""
    _change_own(c, chunk, leased_until=now + lease)


def give_back(c: Connection, chunk: Chunk) -> None:
    """Let another worker have the chunk at once. Raises StaleLease if one has it already."""
    _change_own(c, chunk, state="open", leased_by=None, leased_until=None)


def finish(
    c: Connection, chunk: Chunk, predictions: Sequence[Scored], *, encoded: int, backend: str, now: datetime
) -> None:
    """Write the chunk's predictions and end it, and with the last chunk the job.

    Raises StaleLease, with nothing written, when the chunk was claimed by another worker meanwhile or
    its job was stopped: the fence is checked by the same statement that ends the chunk.
    """
    if c.dialect.name == "postgresql":
        joined(c, chunk.job_id)
    _change_own(
        c, chunk, state="done", done_at=now, leased_by=None, leased_until=None,
        encoded=encoded, written=len(predictions),
    )  # fmt: skip
    add(
        c,
        predictions,
        model_id=chunk.model_id,
        backend=backend,
        job_id=chunk.job_id,
        chunk_seq=chunk.seq,
        fence=chunk.fence,
        now=now,
    )
    end_if_complete(c, chunk.job_id, now)


def _change_own(c: Connection, chunk: Chunk, **values: Any) -> None:
    claim = {"own_job": chunk.job_id, "own_seq": chunk.seq, "own_fence": chunk.fence}
    if c.execute(_OWN, {**claim, **values}).rowcount != 1:
        raise StaleLease(
            f"chunk {chunk.seq} of job {chunk.job_id} was taken over, or its job was stopped; "
            "what this worker computed for it is not written"
        )


# which columns it sets is told by the values it is executed with
_OWN = update(score_chunk).where(
    score_chunk.c.job_id == bindparam("own_job"),
    score_chunk.c.seq == bindparam("own_seq"),
    score_chunk.c.state == "leased",
    score_chunk.c.fence == bindparam("own_fence"),
)


def end_if_complete(c: Connection, job_id: int, now: datetime) -> None:
    """Close the job if this was its last chunk."""
    if c.dialect.name == "postgresql":
        # one at a time: two workers that finish the last two chunks at once would otherwise each see the
        # other's still open, and the job would stay open for ever. FOR NO KEY UPDATE leaves `joined` be
        c.execute(_GET.with_for_update(key_share=True), {"job": job_id})
    c.execute(_END_IF_COMPLETE, {"job": job_id, "now": now})


_END_IF_COMPLETE = (
    update(score_job)
    .where(
        score_job.c.id == bindparam("job"),
        score_job.c.state == "open",
        # by name, which an index finds; "not done" would go through all that are
        ~exists().where(
            score_chunk.c.job_id == bindparam("job"), score_chunk.c.state.in_(("open", "leased"))
        ),
    )
    .values(state="done", ended_at=bindparam("now"))
)


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
