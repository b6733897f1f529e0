"""Workers killed without warning (SIGKILL), on both databases: nothing lost, nothing twice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.context import ForkServerContext

import numpy as np
import pytest
from sqlalchemy import func, select

from db.engine import reading
from db.tables import feature, prediction, score_chunk, score_job
from tasks.classify import cut_backlog, score
from tasks.doctor import doctor
from tests.scoring.hospital import CLASSIFIER, Hospital
from tests.scoring.worker import worker

REPORTS = 160
KILLS = 6


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
    for _ in range(KILLS):
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
    score.fn(job_id)
    assert both.count(prediction) == REPORTS
    assert both.count(score_job, score_job.c.state == "done") == 1
    assert cut_backlog.fn(both.run("classify"), CLASSIFIER) is None
    assert doctor(both.settings) == []
