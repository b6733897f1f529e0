"""The simulation of many workers keeps to what queueing theory knows without it."""

from __future__ import annotations

import pytest

from benchmarks.closed_queue import Costs, play

NOTHING = Costs(0, 0, 0, 0, 0, 0)
CHUNKS = 400


def costs(**seconds: float) -> Costs:
    return Costs(**{**vars(NOTHING), **seconds})


def test_one_worker_takes_the_sum_of_its_steps() -> None:
    one = costs(claim_s=1, read_s=2, write_s=3, held_s=4, flush_s=5, alone_s=6)
    assert play(one, 1, 1, CHUNKS).chunks_per_s == pytest.approx(1 / (1 + 2 + 3 + 4 + 2 * 5 + 6))


def test_many_workers_are_held_by_the_narrowest_station() -> None:
    told = play(costs(read_s=2, alone_s=5), 100, 4, CHUNKS)
    assert told.chunks_per_s == pytest.approx(4 / 2, rel=0.01)
    assert told.narrowest == "server"
    assert told.busy["server"] == pytest.approx(1, abs=0.01)


def test_few_workers_do_not_meet() -> None:
    assert play(costs(read_s=0.01, alone_s=50), 3, 4, CHUNKS).chunks_per_s == pytest.approx(3 / 50, rel=0.02)


def test_a_flush_is_shared_and_a_lock_is_not() -> None:
    # claims share a flush; whoever holds the lock waits for its own, at worst after one under way
    told = play(costs(flush_s=1, alone_s=10), 100, 4, CHUNKS)
    assert 0.5 <= told.chunks_per_s <= 1
    assert told.narrowest in ("lock", "flush")
    # what is done under the lock comes on top, however many cores there are
    assert play(costs(flush_s=1, held_s=1, alone_s=10), 100, 64, CHUNKS).chunks_per_s <= 0.5
    assert play(costs(write_s=1, alone_s=10), 100, 64, CHUNKS).chunks_per_s > 5
