"""Silent workers' chunks: what the SQL alone promises when workers die over them, on both databases."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from math import ceil, log2

import pytest
from sqlalchemy import select, text, update

from db import erasure, scoring, takeover
from db.engine import reading, writing
from db.errors import StaleLease
from db.predictions import Scored
from db.scoring import Chunk, Job
from db.tables import prediction, quarantine, report_version, score_chunk, score_job
from db.takeover import TakenOver
from tests.scoring.hospital import Hospital

LEASE = timedelta(minutes=1)
REPORTS = 32
DEATHS_MAX = 60


@pytest.fixture
def job(both: Hospital) -> Job:
    """Reports in eight chunks of four."""
    both.receive(REPORTS)
    return both.cut(both.crown_row())


def take_over(hospital: Hospital, job: Job, *dead: str, later_s: float = 0) -> TakenOver:
    now = hospital.now + timedelta(seconds=later_s)
    with writing(hospital.engine) as c:
        return takeover.take_over(c, job, dead, lease=LEASE, sources=None, now=now)


def claim(hospital: Hospital, job: Job, worker: str = "a", lease: timedelta = LEASE) -> Chunk | None:
    with writing(hospital.engine) as c:
        return scoring.claim(c, job.id, worker, lease, hospital.now)


def finish(hospital: Hospital, chunk: Chunk) -> None:
    with writing(hospital.engine) as c:
        in_range = report_version.c.id.between(chunk.first_version_id, chunk.last_version_id)
        ids = c.scalars(select(report_version.c.id).where(in_range)).all()
        scored = [Scored(one, "maligno", {"benigno": 0.1, "maligno": 0.9}, "auto", 7, 9) for one in ids]
        scoring.finish(c, chunk, scored, encoded=len(ids), backend="test", now=hospital.now)


def work_until_done(hospital: Hospital, job: Job, *killers: int) -> int:
    """Worker after worker, each killed by the first chunk that holds a killer; how many were."""
    deaths = 0
    while deaths < DEATHS_MAX and hospital.count(score_job, score_job.c.state == "open"):
        while (chunk := claim(hospital, job, f"w{deaths}")) is not None:
            if any(chunk.first_version_id <= one <= chunk.last_version_id for one in killers):
                take_over(hospital, job, f"w{deaths}")
                deaths += 1
                break
            finish(hospital, chunk)
    return deaths


def ranges(hospital: Hospital) -> list[tuple[int, int]]:
    with reading(hospital.engine) as c:
        columns = (score_chunk.c.first_version_id, score_chunk.c.last_version_id)
        return sorted((row[0], row[1]) for row in c.execute(select(*columns)))


@pytest.mark.parametrize("killer", [1, 14, REPORTS])
def test_a_report_that_kills_its_worker_is_given_up_and_all_others_written(
    both: Hospital, job: Job, killer: int
) -> None:
    assert work_until_done(both, job, killer) == 2 + log2(4)
    assert both.count(prediction) == REPORTS - 1
    with reading(both.engine) as c:
        row = c.execute(select(quarantine)).one()
    found = (row.external_id, row.reason, row.classifier, row.state)
    assert found == (f"L{killer - 1}", "scoring_failed", job.classifier, "waiting")
    told = {"report_version_id": killer, "because": "each process that read it was killed"}
    assert json.loads(row.payload) == told
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ranges(both)))
    assert not both.broken_promises()


def test_several_killers_are_found_one_after_the_other(both: Hospital, job: Job) -> None:
    killers = (2, 3, 19)
    deaths = work_until_done(both, job, *killers)
    assert deaths <= len(killers) * (2 + log2(4))
    assert both.count(prediction) == REPORTS - 3
    assert both.count(quarantine) == 3
    assert not both.broken_promises()


def test_a_chunk_of_any_size_costs_two_deaths_and_its_logarithm(both: Hospital) -> None:
    both.receive(23)
    job = both.cut(both.crown_row())
    with writing(both.engine) as c:
        one = {"first_version_id": 1, "last_version_id": 23, "reports": 23}
        c.execute(update(score_chunk).where(score_chunk.c.seq == 1).values(one))
        c.execute(score_chunk.delete().where(score_chunk.c.seq > 1))
    assert work_until_done(both, job, 17) <= 2 + ceil(log2(23))
    assert (both.count(prediction), both.count(quarantine)) == (22, 1)


def test_of_a_killer_that_is_erased_meanwhile_no_row_tells_the_hash(both: Hospital) -> None:
    if both.engine.dialect.name == "sqlite":
        pytest.skip("it has one writer at a time")
    both.receive(1)
    job = both.cut(both.crown_row())
    claim(both, job, "a")
    take_over(both, job, "a")
    claim(both, job, "b")
    waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with ThreadPoolExecutor(1) as pool:
        with writing(both.engine) as c:
            erasure.alone(c)
            found, _ = erasure.find(c, 1, ["L0"], [])
            erasure.erase(c, found, both.now)
            taken = pool.submit(take_over, both, job, "b")
            while not taken.done() and not c.scalar(waits):
                pass
        taken.result()
    assert both.count(quarantine) == 0
    assert not both.broken_promises()


def test_without_counting_deaths_the_job_never_ends(
    both: Hospital, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "DEATHS_TO_SUSPECT", 10**6)
    assert work_until_done(both, job, 14) == DEATHS_MAX
    assert both.count(score_job, score_job.c.state == "open") == 1
    assert (both.count(prediction), both.count(quarantine)) == (REPORTS - 4, 0)


def test_one_kill_from_outside_gives_up_nothing_whatever_it_hits(both: Hospital) -> None:
    both.receive(1)
    job = both.cut(both.crown_row())
    assert claim(both, job, "killed") is not None
    assert take_over(both, job, "killed") == TakenOver(opened=1)
    chunk = claim(both, job)
    assert chunk is not None
    finish(both, chunk)
    assert (both.count(prediction), both.count(quarantine)) == (1, 0)


def test_what_a_worker_died_over_comes_after_everything_else(both: Hospital, job: Job) -> None:
    first = claim(both, job, "killed")
    assert first is not None
    take_over(both, job, "killed")
    order = [chunk.seq for _ in range(8) if (chunk := claim(both, job, "b")) is not None]
    assert order == [2, 3, 4, 5, 6, 7, 8, first.seq]
    assert claim(both, job, "b") is None


def test_a_worker_may_leave_alone_what_others_died_over(both: Hospital, job: Job) -> None:
    claim(both, job, "killed")
    take_over(both, job, "killed")
    with writing(both.engine) as c:
        claimed = [scoring.claim(c, job.id, "b", LEASE, both.now, deaths_max=0) for _ in range(8)]
    assert [chunk.seq for chunk in claimed if chunk is not None] == [2, 3, 4, 5, 6, 7, 8]


def test_what_is_free_is_told_as_it_would_be_claimed(both: Hospital, job: Job) -> None:
    def free(deaths_max: int | None = None) -> bool:
        with reading(both.engine) as c:
            return scoring.is_any_free(c, job.id, deaths_max=deaths_max)

    assert free(0)
    held = [claim(both, job, f"w{number}") for number in range(8)]
    assert not free()
    take_over(both, job, "w3")
    assert (free(), free(0)) == (True, False)
    with reading(both.engine) as c:
        late = both.now + LEASE + timedelta(seconds=1)
        others = {f"w{number}" for number in range(8)} - {"w3"}
        assert (takeover.at_work(c, job.id, both.now), takeover.at_work(c, job.id, late)) == (others, set())
    with writing(both.engine) as c:
        scoring.stop(c, job.id, "paused", both.now)
    assert not free()
    assert len(held) == 8


def test_only_the_silent_and_the_dead_lose_their_chunks(both: Hospital, job: Job) -> None:
    for worker in ("dead", "alive", "slow"):
        claim(both, job, worker)
    with writing(both.engine) as c:
        assert takeover.lessees(c, job.id) == {"dead", "alive", "slow"}
        c.execute(
            update(score_chunk)
            .where(score_chunk.c.leased_by == "slow")
            .values(leased_until=both.now - timedelta(seconds=1))
        )
    assert take_over(both, job, "dead") == TakenOver(opened=2)
    with reading(both.engine) as c:
        assert takeover.lessees(c, job.id) == {"alive"}
        assert list(c.scalars(select(score_chunk.c.deaths).order_by(score_chunk.c.seq).limit(4))) == [
            1,
            0,
            1,
            0,
        ]


def test_a_worker_with_a_longer_lease_has_not_died_over_its_chunk(both: Hospital) -> None:
    """Two settings at once, or a clock that jumped back; but one that is known to be dead has died."""
    both.receive(4)
    job = both.cut(both.crown_row())
    for number in range(6):
        assert claim(both, job, f"alive{number}", 10 * LEASE) is not None
        assert take_over(both, job) == TakenOver(opened=1)
    assert both.count(score_chunk, score_chunk.c.deaths > 0) == both.count(quarantine) == 0
    assert claim(both, job, "killed", 10 * LEASE) is not None
    assert take_over(both, job, "killed") == TakenOver(opened=1)
    assert both.count(score_chunk, score_chunk.c.deaths == 1) == 1


def test_a_chunk_given_back_counts_no_death(both: Hospital, job: Job) -> None:
    chunk = claim(both, job)
    assert chunk is not None
    with writing(both.engine) as c:
        scoring.give_back(c, chunk)
    assert both.count(score_chunk, score_chunk.c.deaths > 0) == 0


def test_a_suspect_chunk_whose_reports_are_gone_is_simply_done(both: Hospital, job: Job) -> None:
    claim(both, job, "w0")
    take_over(both, job, "w0")
    for number in range(4):
        both.change(f"L{number}", deleted_at=both.now)
    assert work_until_done(both, job, 1) == 1
    assert (both.count(prediction), both.count(quarantine)) == (REPORTS - 4, 0)
    assert not both.broken_promises()


def test_workers_that_take_over_at_once_halve_each_chunk_once(both: Hospital, job: Job) -> None:
    with writing(both.engine) as c:
        c.execute(update(score_chunk).values(deaths=1))
    for worker in range(8):
        claim(both, job, f"w{worker}")
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda _: take_over(both, job, later_s=61), range(6)))
    assert sum(one.halved for one in taken) == 8
    assert both.count(score_chunk) == 16
    assert [last - first for first, last in ranges(both)] == [1] * 16
    assert not both.broken_promises()


def test_a_paused_job_is_left_as_it_is(both: Hospital, job: Job) -> None:
    claim(both, job, "w0")
    with writing(both.engine) as c:
        assert scoring.stop(c, job.id, "paused", both.now) == 1
    assert take_over(both, job, "w0", later_s=61) == TakenOver()
    assert both.count(score_chunk, score_chunk.c.deaths > 0) == 0


def test_a_worker_that_begins_anew_counts_no_death_against_its_own_chunk(both: Hospital, job: Job) -> None:
    mine, others = claim(both, job, "mine"), claim(both, job, "other")
    assert mine is not None
    assert others is not None
    with writing(both.engine) as c:
        assert takeover.put_back(c, job.id, "mine") == 1
    with pytest.raises(StaleLease):
        finish(both, mine)
    again = claim(both, job, "mine")
    assert again is not None
    assert (again.seq, again.fence) == (mine.seq, mine.fence + 1)
    assert both.count(score_chunk, score_chunk.c.deaths > 0) == 0
