"""A job stopped by a person, let go on, and looked at while it runs, on both databases."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

import flows.classify
from db import schema, scoring, shift, status
from db.engine import open_engine, reading, writing
from db.errors import LaudosError, StaleLease
from db.scoring import Chunk, Job
from db.status import JobStatus
from db.tables import audit, prediction, score_chunk, score_job
from flows.classify import ClassifySummary
from flows.cli.app import main
from tasks.ml.network.predictor import Predictor
from tasks.night.monitor import look_back
from tasks.scoring import claims
from tasks.scoring.classify import cut_backlog, score
from tasks.scoring.jobs import list_jobs, resume_job, stop_job
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital

LEASE = timedelta(minutes=1)


@pytest.fixture
def job(both: Hospital) -> Job:
    """Twelve reports in three chunks, a real champion."""
    both.receive(12)
    return both.cut(both.crown())


@pytest.fixture
def classify(monkeypatch: pytest.MonkeyPatch) -> Callable[[], ClassifySummary]:
    """`laudos classify` without Prefect's server."""
    monkeypatch.setattr(flows.classify, "cut_backlog", cut_backlog.fn)
    monkeypatch.setattr(flows.classify, "score", score.fn)

    def run() -> ClassifySummary:
        (summary,) = flows.classify.classify.fn(CLASSIFIER)
        return summary

    return run


@pytest.fixture
def laudos(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in this process; what it printed."""
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["laudos", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    return run


def claim(hospital: Hospital, job: Job, worker: str = "a") -> Chunk:
    with writing(hospital.engine) as c:
        chunk = scoring.claim(c, job.id, worker, LEASE, hospital.now)
    assert chunk is not None
    return chunk


def finish(hospital: Hospital, chunk: Chunk) -> None:
    with writing(hospital.engine) as c:
        scoring.finish(c, chunk, [], encoded=0, backend="test", now=hospital.now)


def status_of(hospital: Hospital, later_s: float = 0) -> JobStatus:
    with reading(hospital.engine) as c:
        (told,) = status.jobs(c, hospital.now + timedelta(seconds=later_s))
    return told


# ------------------------------------------------------------------ stop and resume


def test_a_stopped_job_waits_over_every_classify_until_it_is_resumed(
    both: Hospital, job: Job, classify: Callable[[], ClassifySummary]
) -> None:
    assert stop_job(both.settings, job.id).next == f"laudos jobs resume {job.id}"
    for _ in range(2):
        told = classify()
        assert (told.outcome, told.paused, told.written) == ("paused", 3, 0)
        assert told.resume_with == f"laudos jobs resume {job.id}"
    assert both.count(prediction) == both.count(score_chunk, score_chunk.c.state != "open") == 0
    assert both.count(score_job) == 1
    assert "laudos classify" in resume_job(both.settings, job.id).next
    told = classify()
    assert (told.outcome, told.written, told.resume_with) == ("scored", 12, None)
    assert doctor(both.settings) == []
    with reading(both.engine) as c:
        rows = c.execute(select(audit.c.action, audit.c.subject, audit.c.detail).order_by(audit.c.id)).all()
    assert [tuple(row) for row in rows] == [
        ("stop", f"score job {job.id}", {"chunks_taken_back": 0}),
        ("resume", f"score job {job.id}", {}),
    ]


def test_a_worker_in_the_middle_of_a_chunk_writes_nothing_for_a_stopped_job(
    both: Hospital, job: Job, classify: Callable[[], ClassifySummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Predictor.vectors
    calls: list[int] = []

    def stopped_meanwhile(self: Predictor, texts: list[str], **options: Any) -> Any:
        calls.append(len(texts))
        if len(calls) == 2:
            assert stop_job(both.settings, job.id).chunks_taken_back == 1
        return read(self, texts, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "vectors", stopped_meanwhile)
        told = classify()
    assert (told.outcome, told.written, told.paused) == ("paused", 4, 2)
    assert both.count(prediction) == 4
    resume_job(both.settings, job.id)
    assert classify().written == 8
    assert both.count(score_chunk, score_chunk.c.deaths > 0) == 0, "being stopped is no death"
    assert doctor(both.settings) == []


def test_what_cannot_be_stopped_or_resumed_is_told_why(
    both: Hospital, job: Job, classify: Callable[[], ClassifySummary]
) -> None:
    with pytest.raises(LaudosError, match="nothing to resume: job 1 of 'achado' is under way"):
        resume_job(both.settings, job.id)
    stop_job(both.settings, job.id)
    with pytest.raises(LaudosError, match='is stopped already; "laudos jobs resume 1"'):
        stop_job(both.settings, job.id)
    resume_job(both.settings, job.id)
    classify()
    for act in (stop_job, resume_job):
        with pytest.raises(LaudosError, match=r"there is nothing to .*: job 1 of 'achado' is done"):
            act(both.settings, job.id)
        with pytest.raises(LaudosError, match=r'no scoring job 77; "laudos jobs list"'):
            act(both.settings, 77)
    assert both.count(audit) == 2, "a refusal leaves no row"


def test_a_stopped_job_of_a_former_champion_is_over(
    both: Hospital, job: Job, classify: Callable[[], ClassifySummary]
) -> None:
    stop_job(both.settings, job.id)
    both.crown(head=1)
    with pytest.raises(LaudosError, match="model 1, which is champion no more"):
        resume_job(both.settings, job.id)
    told = classify()
    assert (told.outcome, told.written) == ("scored", 12)
    assert [one.state for one in list_jobs(both.settings)] == ["done", "stopped"]
    with pytest.raises(LaudosError, match="ended when model 1 was champion no more"):
        resume_job(both.settings, job.id)
    assert doctor(both.settings) == []


def finishes(both: Hospital, chunk: Chunk) -> None:
    finish(both, chunk)  # with no answer: its four reports are in the next job


def falls_silent(both: Hospital, _: Chunk) -> None:
    with writing(both.engine) as c:
        c.execute(update(score_chunk).values(leased_until=both.now - LEASE))


def is_for_a_former_champion(both: Hospital, _: Chunk) -> None:
    champion = both.crown(head=1)
    with writing(both.engine) as c:
        scoring.stop_former(c, CLASSIFIER, champion, both.now)


@pytest.mark.parametrize("ends", [finishes, falls_silent, is_for_a_former_champion])
def test_what_came_in_since_is_scored_once_another_worker_has_ended_its_chunk(
    both: Hospital,
    job: Job,
    classify: Callable[[], ClassifySummary],
    monkeypatch: pytest.MonkeyPatch,
    ends: Callable[[Hospital, Chunk], None],
) -> None:
    with writing(both.engine) as c:
        held = scoring.claim(c, job.id, "elsewhere", 2 * LEASE, scoring.lease_clock(c))
    assert held is not None
    both.receive(4)
    looks: list[float] = []

    def look_again(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            ends(both, held)

    monkeypatch.setattr(claims, "time", SimpleNamespace(sleep=look_again))
    told = classify()
    assert (told.outcome, len(told.jobs), len(looks)) == ("scored", 2, 2)
    champion = prediction.c.model_id == (2 if ends is is_for_a_former_champion else 1)
    assert both.count(prediction, champion) == 16
    assert doctor(both.settings) == []


def claimed_while_it_is_stopped(hospital: Hospital, job: Job) -> Chunk:
    """A claim that began before a stop and is committed after the stop was asked for."""
    asked = threading.Event()

    def stop() -> None:
        asked.set()
        with writing(hospital.engine) as c:
            scoring.stop(c, job.id, "paused", hospital.now)

    stopper = threading.Thread(target=stop)
    with writing(hospital.engine) as c:
        chunk = scoring.claim(c, job.id, "a", LEASE, hospital.now)
        stopper.start()
        asked.wait()
        stopper.join(0.5)  # it would be through by now if nothing held it up
    stopper.join()
    assert chunk is not None
    return chunk


def test_a_claim_under_way_does_not_slip_past_a_stop(both: Hospital, job: Job) -> None:
    chunk = claimed_while_it_is_stopped(both, job)
    with pytest.raises(StaleLease):
        finish(both, chunk)
    assert both.count(score_chunk, score_chunk.c.state == "leased") == 0


@pytest.fixture
def on_postgres(postgres_url: str, configure: Callable[..., Settings], now: datetime) -> Iterator[Hospital]:
    schema.upgrade(postgres_url)
    engine = open_engine(postgres_url)
    yield Hospital(engine, configure(database=postgres_url, **TABLES), now)
    engine.dispose()


@pytest.mark.postgres
def test_without_the_lock_on_the_job_the_claim_would_slip_past(
    on_postgres: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_postgres.receive(4)
    job = on_postgres.cut(on_postgres.crown_row())
    monkeypatch.setattr(scoring, "joined", scoring.get)
    finish(on_postgres, claimed_while_it_is_stopped(on_postgres, job))
    assert on_postgres.count(score_chunk, score_chunk.c.state == "done") == 1


def test_stops_claims_and_finishes_at_once_block_nobody_for_ever(both: Hospital) -> None:
    both.receive(160)
    job = both.cut(both.crown_row())
    stopped = threading.Event()
    finished: list[int] = []

    def work(name: str) -> None:
        while not stopped.is_set():
            with writing(both.engine) as c:
                chunk = scoring.claim(c, job.id, name, LEASE, both.now)
            if chunk is None:
                continue
            try:
                with writing(both.engine) as c:
                    scoring.renew(c, chunk, LEASE, both.now)
                finish(both, chunk)
                finished.append(chunk.seq)
            except StaleLease:
                pass

    workers = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for worker in workers:
        worker.start()
    for _ in range(10):
        with writing(both.engine) as c:
            scoring.stop(c, job.id, "paused", both.now)
        assert both.count(score_chunk, score_chunk.c.state == "leased") == 0
        with writing(both.engine) as c:
            scoring.resume(c, job.id)
    while both.count(score_job, score_job.c.state == "open"):
        pass
    stopped.set()
    for worker in workers:
        worker.join()
    assert sorted(finished) == list(range(1, 41))


def test_reports_that_waited_all_day_with_nobody_at_work_raise_an_alarm(both: Hospital, job: Job) -> None:
    def alarmed(days: int) -> list[str]:
        with reading(both.engine) as c:
            told = look_back(c, both.settings, both.now + timedelta(days=days, minutes=1)).alarms
        return [one for one in told if "waited for the champion" in one]

    assert alarmed(0) == []
    (told,) = alarmed(1)
    assert told.startswith("achado: 12 reports have waited for the champion for more than a day")
    with writing(both.engine) as c:
        scoring.claim(c, job.id, "elsewhere", LEASE, scoring.lease_clock(c))
    assert alarmed(1) == [], "somebody is at work on them"
    stop_job(both.settings, job.id)
    assert alarmed(1) == [], "a person stopped it"


# ------------------------------------------------------------------ how far it is


def test_the_state_of_a_job_is_told_from_its_chunks(both: Hospital, job: Job) -> None:
    for worker in ("a", "b"):
        claim(both, job, worker)
    told = status_of(both)
    assert (told.chunks, told.chunks_done, told.chunks_leased, told.workers) == (3, 0, 2, 2)
    assert (told.reports, told.reports_done, told.silent, told.suspect) == (12, 0, 0, 0)
    later = status_of(both, later_s=61)
    assert (later.chunks_leased, later.workers, later.silent) == (2, 0, 2)
    with writing(both.engine) as c:
        c.execute(update(score_chunk).where(score_chunk.c.seq == 1).values(deaths=1))
    assert status_of(both).suspect == 1


def test_a_rate_is_claimed_from_the_second_chunk_on_while_somebody_is_at_work(
    both: Hospital, job: Job
) -> None:
    held, rates = claim(both, job), []
    for minutes in (10, 8):
        finish(both, held)
        with writing(both.engine) as c:
            moment = both.now - timedelta(minutes=minutes)
            c.execute(update(score_chunk).where(score_chunk.c.done_at == both.now).values(done_at=moment))
        nobody = status_of(both)
        assert (nobody.reports_per_minute, nobody.left_s) == (None, None), "nobody is at work"
        held = claim(both, job)
        rates.append(status_of(both).reports_per_minute)
    # the second chunk's four reports took two minutes
    assert rates == [None, 2.0]
    told = status_of(both)
    assert (told.reports_done, told.left_s) == (8, 120.0)
    assert status_of(both, later_s=3600).reports_per_minute is None, "an hour ago is no rate"


def test_workers_whose_chunks_end_together_are_told_at_their_true_rate(both: Hospital) -> None:
    """24 of one speed: each reads a report in 30 s, and all end within the same second."""
    both.receive(72)
    job = both.cut(both.crown_row(), 1, 1)
    workers = [f"w{number}" for number in range(24)]
    held, rates = [claim(both, job, worker) for worker in workers], []
    for after_s in (30, 60):
        with writing(both.engine) as c:
            for number, chunk in enumerate(held):
                ended = both.now - timedelta(minutes=5) + timedelta(seconds=after_s + number / 24)
                scoring.finish(c, chunk, [], encoded=0, backend="test", now=ended)
        held = [claim(both, job, worker) for worker in workers]
        rates.append(status_of(both).reports_per_minute)
    assert rates == [None, pytest.approx(48.0)]


def test_who_tests_a_job_for_a_shift_is_at_work_on_it(
    both: Hospital, job: Job, laudos: Callable[..., str]
) -> None:
    with writing(both.engine) as c:
        clock = scoring.lease_clock(c)
        shift.claim(c, job.id, "a", timedelta(minutes=10), clock)
    passed_s = (clock - both.now).total_seconds()
    told = status_of(both, later_s=passed_s)
    assert (told.workers, told.chunks_leased) == (1, 0)
    assert "a worker reads a sample first" in laudos("status")
    assert status_of(both, later_s=passed_s + 3600).workers == 0, "it fell silent"
    with writing(both.engine) as c:
        shift.end(c, job.id, shift.UNTESTED, both.now)
    assert "nobody at work" in laudos("status")


def test_chunks_that_ended_in_one_moment_give_no_rate(both: Hospital, job: Job) -> None:
    for _ in range(2):
        finish(both, claim(both, job))
    claim(both, job)
    assert status_of(both).reports_per_minute is None


def test_only_unfinished_jobs_are_in_the_status_and_all_in_the_list(
    both: Hospital, job: Job, laudos: Callable[..., str]
) -> None:
    (told,) = json.loads(laudos("status", "--json"))["jobs"]
    assert (told["job"], told["state"], told["reports"]) == (job.id, "open", 12)
    assert "0 of 12 reports, 0 of 3 chunks; nobody at work" in laudos("status")
    assert json.loads(laudos("jobs", "stop", str(job.id), "--json"))["state"] == "paused"
    assert '"laudos jobs resume 1" lets it go on' in laudos("status")
    assert '"laudos jobs resume 1" lets it go on' in laudos("jobs", "list")
    assert json.loads(laudos("jobs", "resume", str(job.id), "--json"))["state"] == "open"
    score.fn(job.id)
    assert json.loads(laudos("status", "--json"))["jobs"] == []
    (told,) = json.loads(laudos("jobs", "list", "--classifier", CLASSIFIER, "--json"))
    assert (told["state"], told["written"], told["reports_done"]) == ("done", 12, 12)
    assert "12 of 12" in laudos("jobs", "list", "--all")


def test_the_list_shows_the_last_jobs_unless_all_are_asked_for(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.scoring.jobs.LISTED", 2)
    model_id = both.crown_row()
    for _ in range(3):
        both.receive(4)
        with writing(both.engine) as c:
            c.execute(update(score_job).values(state="stopped"))
        both.cut(model_id)
    assert [one.job for one in list_jobs(both.settings)] == [3, 2]
    assert [one.job for one in list_jobs(both.settings, every=True)] == [3, 2, 1]
    with pytest.raises(LaudosError, match="did you mean 'achado'"):
        list_jobs(both.settings, "achdo")
