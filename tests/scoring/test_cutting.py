"""How a backlog is cut: sizes that fall, over every report once, and workers that end together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from heapq import heapreplace
from itertools import pairwise
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from db import backlog, scoring
from db.cutting import FEW, MANY, levels
from db.engine import reading, writing
from db.tables import prediction, report_version, score_chunk, score_job, shift_test
from tasks.scoring.claims import work_on
from tests.scoring.hospital import CLASSIFIER, Hospital
from tests.scoring.test_takeover import claim, finish, take_over


def sizes(reports: int, smallest: int, largest: int) -> list[int]:
    """Of every chunk, the last one's being what is left for it."""
    told = [level.reports for level in levels(reports, smallest, largest) for _ in range(level.chunks)]
    return [*told[:-1], reports - sum(told[:-1])]


@given(st.integers(1, 100_000), st.integers(1, 300), st.integers(1, 2000))
def test_sizes_fall_within_their_bounds_and_sum_to_the_backlog(
    reports: int, smallest: int, largest: int
) -> None:
    cut = sizes(reports, smallest, largest)
    assert sum(cut) == reports
    assert all(before >= after > 0 for before, after in pairwise(cut))
    assert cut[0] <= largest
    assert all(size >= min(smallest, largest) for size in cut[:-1])
    first = levels(reports, smallest, largest)[0]
    assert 2 * first.chunks * first.reports >= reports, "the first level holds half of all reports"


def test_nothing_is_cut_into_nothing() -> None:
    assert levels(0, 64, 1000) == ()


def most_of_one_worker(cut: list[int], workers: int) -> int:
    """Reports of the worker that reads most, where each takes the next chunk when it has ended one."""
    read = [0] * workers
    for size in cut:
        heapreplace(read, read[0] + size)
    return max(read)


@pytest.mark.parametrize("reports", [4_000, 20_000, 64_000, 150_000])
def test_workers_end_together_however_many_there_are(reports: int) -> None:
    cut = sizes(reports, 64, 1000)
    provided_for = min(MANY, max(FEW, reports // 2000))
    for workers in range(1, provided_for + 1):
        assert most_of_one_worker(cut, workers) <= -(-reports // workers) + 64
    for workers in range(provided_for + 1, 200):
        assert most_of_one_worker(cut, workers) <= reports / workers + 1000


def test_a_small_backlog_keeps_more_workers_busy_than_it_has_large_chunks() -> None:
    assert most_of_one_worker(sizes(4_000, 64, 1000), 8) <= 4_000 / 8 + 64
    # a night's reports: nobody waits for long
    assert most_of_one_worker(sizes(300, 64, 1000), 4) <= 128


def test_equal_chunks_of_the_largest_would_let_workers_wait() -> None:
    assert most_of_one_worker([1000] * 20, 3) > 20_000 / 3 + 64
    assert most_of_one_worker([1000] * 64, 30) > 64_000 / 30 + 64


def test_a_large_backlog_is_read_in_large_chunks() -> None:
    cut = np.array(sizes(1_000_000, 64, 1000))
    assert (cut == 1000).sum() * 1000 >= 0.96 * 1_000_000
    assert len(cut) < 1200


def ranges(hospital: Hospital) -> list[tuple[int, int, int]]:
    columns = (score_chunk.c.reports, score_chunk.c.first_version_id, score_chunk.c.last_version_id)
    with reading(hospital.engine) as c:
        return [tuple(row) for row in c.execute(select(*columns).order_by(score_chunk.c.seq))]


def cut(hospital: Hospital, model_id: int) -> int | None:
    asked: dict[str, Any] = {"sources": None, "chunk_reports_min": 4, "chunk_reports_max": 4}
    with writing(hospital.engine) as c:
        run_id = hospital.run_id(c)
        return backlog.cut(c, CLASSIFIER, model_id, **asked, run_id=run_id, now=hospital.now)


def test_sql_cuts_as_the_sizes_say_where_some_reports_wait_no_more(both: Hospital) -> None:
    both.receive(130)
    for number in range(0, 130, 13):
        both.change(f"L{number}", deleted_at=both.now)
    both.cut(both.crown_row(), 2, 16)
    found = ranges(both)
    assert [reports for reports, _, _ in found] == sizes(120, 2, 16)
    assert len({reports for reports, _, _ in found}) > 3, "levels of several sizes"
    waits = [number + 1 for number in range(130) if number % 13]
    held = [sum(first <= one <= last for one in waits) for _, first, last in found]
    assert held == sizes(120, 2, 16)
    assert all(before[2] < after[1] for before, after in pairwise(found))


def test_what_arrives_while_a_backlog_is_cut_waits_for_the_next(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL shows each statement what was committed before it; SQLite lets nobody write meanwhile."""
    both.receive(20)
    model_id, counted = both.crown_row(), backlog.count

    def count_and_receive(c: Connection, *asked: Any) -> int:
        found = counted(c, *asked)
        if c.dialect.name == "postgresql":
            both.receive(40)
        return found

    monkeypatch.setattr(backlog, "count", count_and_receive)
    job = both.cut(model_id, 2, 16)
    assert job.reports == sum(reports for reports, _, _ in ranges(both)) == 20
    assert not both.broken_promises()
    assert both.count(report_version) == (60 if both.engine.dialect.name == "postgresql" else 20)


def test_a_backlog_that_went_while_it_was_cut_leaves_no_job_that_never_ends(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL; SQLite lets nobody write meanwhile, and answers what was counted."""
    both.receive(1)
    model_id, counted = both.crown_row(), backlog.count
    on_server = both.engine.dialect.name == "postgresql"

    def count_and_lose(c: Connection, *asked: Any) -> int:
        found = counted(c, *asked)
        if on_server:
            both.change("L0", deleted_at=both.now)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(backlog, "count", count_and_lose)
        assert (cut(both, model_id) is None) == on_server
    assert both.count(score_job) == both.count(score_chunk) == both.count(shift_test) == (not on_server)
    both.receive(3)
    if on_server:
        assert cut(both, model_id) is not None
    assert not both.broken_promises()


def test_the_largest_chunks_are_claimed_first(both: Hospital) -> None:
    both.receive(100)
    job = both.cut(both.crown_row(), 2, 16)
    claimed = []
    while (chunk := claim(both, job)) is not None:
        claimed.append(chunk.reports)
    assert claimed == sizes(100, 2, 16)


def test_several_workers_some_of_them_killed_score_each_report_exactly_once(both: Hospital) -> None:
    both.receive(200)
    job = both.cut(both.crown_row(), 2, 16)
    all_killed = Barrier(4)

    def work(worker: int) -> None:
        # each is killed over its second chunk, and another comes for it
        for name in (f"killed{worker}", f"w{worker}"):
            chunks = 0
            while (chunk := claim(both, job, name)) is not None:
                chunks += 1
                if chunks == 2 and name.startswith("killed"):
                    take_over(both, job, name)
                    all_killed.wait()
                    break
                finish(both, chunk)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert both.count(score_chunk, score_chunk.c.deaths > 0) == 4
    assert both.count(prediction) == 200
    assert both.count(score_job, score_job.c.state == "done") == 1
    assert not both.broken_promises()


def test_a_real_model_reads_a_job_of_falling_chunks_once(both: Hospital) -> None:
    both.receive(40)
    job = both.cut(both.crown(), 2, 16)
    told = work_on(both.engine, both.settings, job)
    assert (told.written, told.elsewhere) == (40, 0)
    with reading(both.engine) as c:
        assert scoring.progress(c, job.id).done == len(sizes(40, 2, 16))
    assert not both.broken_promises()
