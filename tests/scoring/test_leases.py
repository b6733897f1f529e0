"""Chunks, leases and fences: what the SQL alone promises, on both databases."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select, update

from db import backlog, features, scoring, takeover
from db.engine import reading, writing
from db.errors import StaleLease
from db.features import Feature
from db.predictions import Scored
from db.scoring import Chunk, Job
from db.tables import prediction, quarantine, report_version, score_chunk, score_job
from tests.scoring.hospital import CLASSIFIER, Hospital

LEASE = timedelta(minutes=1)


@pytest.fixture
def job(both: Hospital) -> Job:
    """Twelve reports in three chunks."""
    both.receive(12)
    return both.cut(both.crown_row())


def claim(hospital: Hospital, job: Job, worker: str = "a", later_s: float = 0) -> Chunk | None:
    """As a worker does it: whose lease has run out by then loses its chunk."""
    now = hospital.now + timedelta(seconds=later_s)
    with writing(hospital.engine) as c:
        takeover.take_over(c, job, set(), lease=LEASE, sources=None, now=now)
        return scoring.claim(c, job.id, worker, LEASE, now)


def claimed(*arguments: Any, **more: Any) -> Chunk:
    chunk = claim(*arguments, **more)
    assert chunk is not None
    return chunk


def taken_from(hospital: Hospital, job: Job) -> tuple[Chunk, Chunk]:
    """A claim whose worker fell silent, and the claim of the worker that has its chunk now."""
    zombie = claimed(hospital, job, "a")
    while (chunk := claimed(hospital, job, "b", later_s=61)).seq != zombie.seq:
        pass
    return zombie, chunk


def finish(hospital: Hospital, chunk: Chunk, backend: str = "torch-fp32") -> None:
    with writing(hospital.engine) as c:
        in_range = report_version.c.id.between(chunk.first_version_id, chunk.last_version_id)
        ids = c.scalars(select(report_version.c.id).where(in_range)).all()
        scored = [Scored(one, "maligno", {"benigno": 0.1, "maligno": 0.9}, "auto", 7, 9) for one in ids]
        scoring.finish(c, chunk, scored, encoded=len(ids), backend=backend, now=hospital.now)


def test_a_backlog_is_cut_into_ranges_that_hold_every_report_once(both: Hospital, job: Job) -> None:
    with reading(both.engine) as c:
        chunks = c.execute(select(score_chunk).order_by(score_chunk.c.seq)).all()
    assert [chunk.reports for chunk in chunks] == [4, 4, 4]
    assert all(one.last_version_id < later.first_version_id for one, later in pairwise(chunks))
    assert job.reports == 12


def test_nothing_new_is_no_job(both: Hospital) -> None:
    model_id = both.crown_row()
    with writing(both.engine) as c:
        cut = backlog.cut(
            c, CLASSIFIER, model_id, sources=None, chunk_reports_min=1, chunk_reports_max=9, run_id=1,
            now=both.now,
        )  # fmt: skip
    assert cut is None


def test_what_is_gone_erased_superseded_or_not_the_hospitals_is_no_backlog(both: Hospital) -> None:
    model_id = both.crown_row()
    both.receive(4)
    both.receive(2, name="other")
    both.receive(3, name="synthetic:achado", kind="synthetic")
    both.change("L0", deleted_at=both.now)
    both.change("L1", erased_at=both.now)
    both.amend("L2")
    with reading(both.engine) as c:
        assert backlog.count(c, model_id, None) == 2 + 2
        assert backlog.count(c, model_id, ["his"]) == 2
        assert backlog.count(c, model_id, []) == 0


def test_workers_that_claim_at_once_never_share_a_chunk(both: Hospital) -> None:
    both.receive(120)
    job = both.cut(both.crown_row())

    def work(worker: int) -> list[int]:
        mine = []
        while (chunk := claim(both, job, f"w{worker}")) is not None:
            mine.append(chunk.seq)
            finish(both, chunk)
        return mine

    with ThreadPoolExecutor(6) as pool:
        seqs = [seq for mine in pool.map(work, range(6)) for seq in mine]
    assert sorted(seqs) == list(range(1, 31))
    # the last two may have finished at the same moment: the job must have ended all the same
    assert both.count(score_job, score_job.c.state == "done") == 1
    assert both.count(prediction) == 120
    assert not both.broken_promises()


def test_an_expired_lease_is_given_to_another_and_a_living_one_is_not(both: Hospital, job: Job) -> None:
    first = claimed(both, job, "a")
    others = [claimed(both, job, "b"), claimed(both, job, "b")]
    assert claim(both, job, "c", later_s=59) is None
    with writing(both.engine) as c:
        for other in others:
            scoring.renew(c, other, LEASE, both.now + timedelta(seconds=59))
    again = claimed(both, job, "c", later_s=61)
    assert (again.seq, again.fence) == (first.seq, first.fence + 1)
    assert claim(both, job, "c", later_s=61) is None


def test_a_lease_from_a_clock_that_jumped_back_does_not_hold_for_ever(both: Hospital, job: Job) -> None:
    ahead = [claimed(both, job, "a", later_s=86_400) for _ in range(3)]
    assert claimed(both, job, "b").seq == ahead[0].seq


def test_a_zombie_cannot_write_once_its_chunk_was_taken_over(both: Hospital, job: Job) -> None:
    zombie, heir = taken_from(both, job)
    with pytest.raises(StaleLease, match=f"chunk {zombie.seq} of job {job.id}"):
        finish(both, zombie)
    for act in (scoring.give_back, lambda c, chunk: scoring.renew(c, chunk, LEASE, both.now)):
        with pytest.raises(StaleLease), writing(both.engine) as c:
            act(c, zombie)
    assert both.count(prediction) == 0
    finish(both, heir)
    with pytest.raises(StaleLease):
        finish(both, zombie)
    assert both.count(prediction) == 4
    assert not both.broken_promises()


def test_without_the_fence_the_zombie_would_have_written(
    both: Hospital, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie, _ = taken_from(both, job)

    def unfenced(c: Any, chunk: Chunk, **values: Any) -> None:
        c.execute(update(score_chunk).where(score_chunk.c.seq == chunk.seq).values(**values))

    monkeypatch.setattr(scoring, "_change_own", unfenced)
    finish(both, zombie)
    assert both.count(prediction) == 4
    assert both.broken_promises() == {"predictions_under_their_lease"}


def test_a_stopped_jobs_worker_writes_nothing(both: Hospital, job: Job) -> None:
    chunk = claimed(both, job)
    successor = both.crown_row(1)
    with writing(both.engine) as c:
        assert scoring.stop_former(c, CLASSIFIER, successor, both.now) == [job.id]
    assert claim(both, job, "b") is None
    with pytest.raises(StaleLease):
        finish(both, chunk)
    assert not both.broken_promises()


def test_a_chunk_given_back_is_free_at_once(both: Hospital, job: Job) -> None:
    chunk = claimed(both, job)
    with writing(both.engine) as c:
        scoring.give_back(c, chunk)
        left = scoring.progress(c, job.id)
    assert (left.open, left.leased, left.done) == (3, 0, 0)
    assert claimed(both, job, "b").fence == chunk.fence + 1


def test_a_report_given_up_waits_for_a_person_and_not_for_the_model(both: Hospital, job: Job) -> None:
    with writing(both.engine) as c:
        for _ in range(2):
            backlog.give_up(c, CLASSIFIER, [1], both.run_id(c), both.now)
        row = c.execute(select(quarantine)).one()
        assert (row.reason, row.classifier, row.seen) == ("scoring_failed", CLASSIFIER, 2)
        assert json.loads(row.payload) == {"report_version_id": 1, "because": "the model failed on it"}
        assert backlog.count(c, job.model_id, None) == 11
        assert backlog.try_again(c, row.source_id, both.now) == 1
        assert backlog.count(c, job.model_id, None) == 12


def test_a_prediction_is_stored_as_it_was_made(both: Hospital, job: Job) -> None:
    finish(both, claimed(both, job), backend="torch-bf16")
    with reading(both.engine) as c:
        row = c.execute(select(prediction).limit(1)).one()
    assert row.probabilities == {"benigno": 0.1, "maligno": 0.9}
    told = (row.label, row.decision, row.tokens_seen, row.tokens_total, row.backend, row.fence)
    assert told == ("maligno", "auto", 7, 9, "torch-bf16", 1)


@pytest.mark.parametrize("unfit", [float("nan"), float("inf")])
def test_a_probability_that_is_no_number_is_not_written(both: Hospital, job: Job, unfit: float) -> None:
    chunk = claimed(both, job)
    scored = Scored(1, "maligno", {"benigno": 0.1, "maligno": unfit}, "auto", 7, 9)
    with pytest.raises(ValueError, match="no finite number"), writing(both.engine) as c:
        scoring.finish(c, chunk, [scored], encoded=1, backend="test", now=both.now)
    assert both.count(prediction) == 0
    assert both.count(score_chunk, score_chunk.c.state == "done") == 0


def test_workers_that_store_the_same_vectors_at_once_keep_one_of_each(both: Hospital) -> None:
    both.receive(40)
    vectors = [Feature(version, bytes([version]) * 8, 3, 3, b"") for version in range(1, 41)]

    def store(order: int) -> None:
        with writing(both.engine) as c:
            features.put(c, "e" * 64, vectors[::order], both.now)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store, [1, -1, 1, -1]))
    with reading(both.engine) as c:
        assert list(features.get(c, "e" * 64, range(1, 41)).values()) == vectors
