"""Workers killed without warning (SIGKILL), on both databases: nothing lost, nothing twice.

And workers that come while others are at work: one job, whoever finishes it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, update

from db import scoring
from db.engine import reading, writing
from db.errors import LaudosError
from db.tables import feature, prediction, quarantine, score_chunk, score_job
from tasks.scoring import apart
from tasks.scoring.claims import work_on
from tasks.scoring.classify import cut_backlog, score
from tasks.scoring.worker import work
from tasks.upkeep.doctor import doctor
from tests.scoring.hospital import CLASSIFIER, Hospital
from tests.scoring.worker import KILLS, killed_by_a_report, plain, slow, worker

REPORTS = 160
KILLED = 6


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Real processes that need not import torch again each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([worker.__module__])
    return context


def test_killed_workers_leave_no_report_unscored_and_none_scored_twice(
    both: Hospital, processes: ForkServerContext
) -> None:
    rng = np.random.default_rng(20261123)
    both.receive(REPORTS)
    both.crown()
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)
    assert job_id is not None
    seen_unfinished = 0
    for _ in range(KILLED):
        hear, tell = processes.Pipe(duplex=False)
        process = processes.Process(target=worker, args=(os.environ["LAUDOS_CONFIG"], job_id, tell))
        process.start()
        tell.close()
        try:
            # some chunks later, and then at any moment within one
            for _ in range(int(rng.integers(1, 6))):
                hear.recv()
            time.sleep(float(rng.uniform(0, 0.03)))
        except EOFError:  # it had finished the job before its time had come
            pass
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), "the worker failed by itself"
        seen_unfinished += both.count(score_job, score_job.c.state == "open")
        with reading(both.engine) as c:
            written = c.scalar(select(func.coalesce(func.sum(score_chunk.c.written), 0)))
        assert both.count(prediction) == both.count(feature) == written
        assert {one.name for one in doctor(both.settings)} <= {"no_expired_leases"}
    assert seen_unfinished > 1, "the kills came too late to show anything"
    assert both.count(prediction) > 0, "the kills came too early to show anything"

    assert cut_backlog.fn(both.run("classify"), CLASSIFIER) in (job_id, None)
    with reading(both.engine) as c:
        job = scoring.get(c, job_id)
    assert job is not None
    work_on(both.engine, both.settings, job)
    assert both.count(prediction) == REPORTS
    assert both.count(score_job, score_job.c.state == "done") == 1
    assert cut_backlog.fn(both.run("classify"), CLASSIFIER) is None
    assert doctor(both.settings) == []


def test_a_report_that_kills_every_process_is_found_and_the_backlog_ends(
    both: Hospital, processes: ForkServerContext
) -> None:
    both.receive(9)
    both.receive(1, text=f"Laudo que {KILLS}")
    both.receive(6)
    both.crown()
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)
    deaths = 0
    while both.count(score_job, score_job.c.state == "open") and deaths < 10:
        hear, tell = processes.Pipe(duplex=False)
        process = processes.Process(
            target=killed_by_a_report, args=(os.environ["LAUDOS_CONFIG"], job_id, tell)
        )
        process.start()
        process.join()
        hear.close()
        deaths += process.exitcode == -signal.SIGKILL
    # a chunk of four: twice over it, once over its half, once over the report alone
    assert deaths == 4
    assert both.count(prediction) == 15
    with reading(both.engine) as c:
        (row,) = c.execute(select(quarantine)).all()
    assert (row.external_id, row.reason) == ("L9", "scoring_failed")
    assert KILLS.encode() not in row.payload
    assert doctor(both.settings) == []


def test_one_run_is_enough_to_find_a_report_that_kills(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(1)
    hospital.receive(1, text=f"Laudo que {KILLS}")
    job = hospital.cut(hospital.crown())
    with writing(hospital.engine) as c:
        c.execute(update(score_chunk).values(deaths=1))  # in this process a first one would end the tests
    monkeypatch.setattr(apart, "COMMAND", (sys.executable, "-m", worker.__module__))
    told = score.fn(job.id)
    assert (told.written, told.quarantined, told.elsewhere) == (1, 1, 0)
    assert hospital.count(score_job, score_job.c.state == "done") == 1
    with reading(hospital.engine) as c:
        assert c.scalar(select(quarantine.c.external_id)) == "L1"
    assert doctor(hospital.settings) == []


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9 at its start"),
        ("import sys; sys.exit(3)", "ended with code 3"),
    ],
)
def test_a_process_that_cannot_even_load_the_model_blames_no_report(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, program: str, found: str
) -> None:
    hospital.receive(4)
    hospital.cut(hospital.crown_row())
    with writing(hospital.engine) as c:
        c.execute(update(score_chunk).values(deaths=1))
    monkeypatch.setattr(apart, "COMMAND", (sys.executable, "-c", program))
    with pytest.raises(LaudosError, match=found):
        score.fn(1)
    assert hospital.count(quarantine) == 0
    assert hospital.count(score_chunk, score_chunk.c.deaths == 1, score_chunk.c.state == "open") == 1


def last_told(hear: Connection) -> Any:
    """The last thing that a worker told which has ended: how many reports it had done, or what it wrote."""
    done: Any = 0
    with suppress(EOFError):
        while True:
            done = hear.recv()
    return done


def test_a_job_is_widened_while_it_runs(both: Hospital, processes: ForkServerContext) -> None:
    both.receive(REPORTS)
    both.crown()
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)

    def join() -> tuple[BaseProcess, Connection]:
        # whoever starts now is given the job that is under way
        assert cut_backlog.fn(both.run("classify"), CLASSIFIER) == job_id
        hear, tell = processes.Pipe(duplex=False)
        process = processes.Process(target=slow, args=(os.environ["LAUDOS_CONFIG"], job_id, tell))
        process.start()
        tell.close()
        return process, hear

    first, heard = join()
    assert heard.recv() == 0
    assert heard.recv() > 0
    others = [join() for _ in range(2)]
    for process, _ in (first, heard), *others:
        process.join()
        assert process.exitcode == 0
    assert all(last_told(hear) > 0 for _, hear in others), "the others came too late to help"
    assert both.count(prediction) == REPORTS
    assert both.count(score_job, score_job.c.state == "done") == 1
    assert both.count(score_chunk, score_chunk.c.fence > 1) == 0, "a chunk was computed twice"
    assert doctor(both.settings) == []


def test_plain_workers_share_a_job_and_one_that_is_stopped_gives_its_chunk_back(
    both: Hospital, processes: ForkServerContext
) -> None:
    both.receive(REPORTS)
    both.crown()
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)

    def start() -> tuple[BaseProcess, Connection]:
        hear, tell = processes.Pipe(duplex=False)
        process = processes.Process(target=plain, args=(os.environ["LAUDOS_CONFIG"], tell))
        process.start()
        tell.close()
        return process, hear

    leaving, heard = start()
    others = [start() for _ in range(2)]
    assert heard.recv() > 0
    assert leaving.pid is not None
    os.kill(leaving.pid, signal.SIGTERM)  # while it reads its first chunk
    leaving.join()
    assert leaving.exitcode == 128 + signal.SIGTERM
    shares = []
    for process, hear in others:
        process.join()
        assert process.exitcode == 0
        shares.append(last_told(hear))
    assert [share["jobs"] for share in shares] == [(job_id,)] * 2
    assert sum(share["written"] for share in shares) == both.count(prediction) == REPORTS
    assert both.count(score_job, score_job.c.state == "done") == 1
    assert both.count(score_chunk, score_chunk.c.fence > 1) == 1, "the chunk that was given back"
    assert both.count(score_chunk, score_chunk.c.deaths > 0) == 0, "being stopped is no death"
    assert doctor(both.settings) == []


def test_a_worker_leaves_where_nothing_is_under_way_and_cuts_nothing(hospital: Hospital) -> None:
    hospital.receive(8)
    model_id = hospital.crown()
    assert work(hospital.settings).jobs == ()
    job = hospital.cut(model_id)
    hospital.crown(head=1)
    assert work(hospital.settings).written == 0, "a former champion's job is nobody's"
    with pytest.raises(LaudosError, match="did you mean 'achado'"):
        work(hospital.settings, "achdo")
    assert hospital.count(score_job, score_job.c.id == job.id, score_job.c.state == "open") == 1
