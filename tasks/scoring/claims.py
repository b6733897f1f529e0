"""A worker on a scoring job: claim a chunk, score it, and again; and what silent workers left.

claim -> score (tasks/scoring/scorer.py; no transaction is open while the model computes) -> the next
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from sqlalchemy import Engine

from db import scoring, takeover
from db.engine import reading, writing
from db.errors import LaudosError, StaleLease
from db.scoring import Chunk, Job
from tasks.ml.faultpoints import reach
from tasks.scoring.scorer import Progress, Scorer, ScoreSummary, load_scorer
from tasks.scoring.workers import is_dead, worker_name
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)

Found = TypeVar("Found")

POLL_S = 1.0  # how often it is seen whether others are still at work


def work_on(
    engine: Engine,
    settings: Settings,
    job: Job,
    progress: Progress | None = None,
    *,
    deaths_max: int | None = None,
) -> ScoreSummary:
    """Score whatever is free of the job; `progress(reports done, reports)`.

    Several workers may work on one job at once. The model is loaded where there is a chunk for it, so a
    job with nothing left costs nothing. With `deaths_max`, chunks that more workers died over are left.
    Raises LaudosError for a model that cannot be used.
    """
    total = ScoreSummary()
    done = 0
    for reports, scored in each_chunk(engine, settings, job, deaths_max=deaths_max):
        total += scored
        done += reports
        if progress is not None and reports:
            progress(min(done, job.reports), job.reports)
    return total + what_is_left(engine, job)


def each_chunk(
    engine: Engine,
    settings: Settings,
    job: Job,
    *,
    deaths_max: int | None = None,
    scorer: Scorer | None = None,
) -> Iterator[tuple[int, ScoreSummary]]:
    """Score chunk after chunk as `work_on` does; of each, how many reports and what came of it."""
    with writing(engine) as c:
        # a retry of the step in the same process: it lives, and still bears the name on its former lease
        takeover.put_back(c, job.id, worker_name())
    if scorer is None:
        free, given_up = _sought(engine, settings, job, lambda: _is_any_free(engine, job, deaths_max))
        if given_up:
            yield 0, ScoreSummary(quarantined=given_up)
        if not free:
            return
        # with nothing claimed yet: a slow load or a trial would outlast the lease, and a process that dies
        # over a model would count as one that died over a report
        scorer = load_scorer(engine, settings, job)
    with ThreadPoolExecutor(1, "ahead") as ahead:
        while True:
            chunk, given_up = _sought(
                engine, settings, job, lambda: _claim(engine, settings, job, deaths_max)
            )
            if given_up:
                yield 0, ScoreSummary(quarantined=given_up)
            if chunk is None:
                return
            reach("score.chunk.claimed")
            scored = ScoreSummary()
            try:
                scored = scorer.score(chunk, lambda: ahead.submit(scorer.prepare_next))
            except StaleLease as stale:
                log.warning("%s", stale)
            except BaseException:
                # Ctrl-C included: the next worker need not wait for the lease to run out
                with suppress(LaudosError), writing(engine) as c:
                    scoring.give_back(c, chunk)
                raise
            yield chunk.reports, scored


def _sought(engine: Engine, settings: Settings, job: Job, seek: Callable[[], Found]) -> tuple[Found, int]:
    """What `seek` finds among the free chunks, and how many reports had to be given up to find it.

    Only once nothing else is free are silent workers' chunks taken over: what they died over comes last.
    """
    if found := seek():
        return found, 0
    given_up = take_over_silent(engine, settings, job)
    return seek(), given_up


def _is_any_free(engine: Engine, job: Job, deaths_max: int | None) -> bool:
    with reading(engine) as c:
        return scoring.is_any_free(c, job.id, deaths_max=deaths_max)


def _claim(engine: Engine, settings: Settings, job: Job, deaths_max: int | None) -> Chunk | None:
    with writing(engine) as c:
        now = scoring.lease_clock(c)
        return scoring.claim(c, job.id, worker_name(), settings.scoring.lease, now, deaths_max=deaths_max)


def take_over_silent(engine: Engine, settings: Settings, job: Job, *, gone: Collection[str] = ()) -> int:
    """Free what dead and silent workers hold of the job; how many reports were given up.

    `gone`: workers that somebody else saw leave.
    """
    with reading(engine) as c:
        dead = {name for name in takeover.lessees(c, job.id) if name in gone or is_dead(name)}
    with writing(engine) as c:
        taken = takeover.take_over(
            c,
            job,
            dead,
            lease=settings.scoring.lease,
            sources=settings.classifier(job.classifier).sources,
            now=scoring.lease_clock(c),
        )
        reach("score.chunks.taken_over")
    if taken.opened:
        log.warning(
            "job %d: %d chunks of silent workers taken over, %d of them halved",
            job.id,
            taken.opened,
            taken.halved,
        )
    for version in taken.given_up:
        log.warning("report version %d killed the processes that read it; it is in quarantine", version)
    return len(taken.given_up)


def what_is_left(engine: Engine, job: Job) -> ScoreSummary:
    """The job's chunks that are not done, counted under who or what they wait for.

    None of one that ended because its model is champion no more: the new champion's job has their reports.
    """
    with reading(engine) as c:
        left = scoring.progress(c, job.id)
        standing = scoring.get(c, job.id)
    if standing is not None and standing.state == "stopped":
        return ScoreSummary()
    if standing is not None and standing.state == "paused":
        log.warning('job %d was stopped; "laudos jobs resume %d" lets it go on', job.id, job.id)
        return ScoreSummary(paused=left.open + left.leased)
    return ScoreSummary(elsewhere=left.open + left.leased)


def await_others(engine: Engine, job: Job) -> ScoreSummary:
    """Wait as long as others hold all that is left of the job; what is left then.

    At most for a lease and a chunk: who computes renews its lease, and who fell silent loses it.
    """
    log.info("job %d: others are at what is left of it; waiting for them", job.id)
    while True:
        time.sleep(POLL_S)
        with reading(engine) as c:
            free = scoring.is_any_free(c, job.id)
            others = takeover.at_work(c, job.id, scoring.lease_clock(c))
        if free or not others or any(map(is_dead, others)):
            return what_is_left(engine, job)
