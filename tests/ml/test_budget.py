"""A model that costs too much is refused, by what is loaded and by processor time beside the champion's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.ml.judging.rules import Rules, rules_sha
from tasks.ml.network.budget import (
    MIB,
    REPORTS,
    ROUNDS,
    ROUNDS_MIN,
    Timed,
    asks_for_time,
    bytes_loaded,
    sample,
    size_reason,
    speed_reason,
    time_reason,
    timed,
)


class Processor:
    """A clock that only the readers move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def reader(self, name: str, seconds: Callable[[int], float]) -> Callable[[], None]:
        def read() -> None:
            self.now += seconds(self.order.count(name))
            self.order.append(name)

        return read

    def clock(self) -> float:
        return self.now


def beside(ours: Callable[[int], float], theirs: Callable[[int], float]) -> Timed:
    one = Processor()
    return timed(one.reader("ours", ours), one.reader("theirs", theirs), 10, one.clock)


def test_a_model_four_times_as_slow_is_refused_with_both_times_and_one_as_fast_is_not() -> None:
    slow, alike = (speed_reason(beside(lambda _, s=s: s, lambda _: 0.1), Rules()) for s in (0.4, 0.11))
    assert (slow.passed, alike.passed) == (False, True)
    assert "a report takes 40 ms of processor time, with the champion 10: 4.00 times as long" in slow.found
    assert slow.asked == "at most 3 times as long"
    assert speed_reason(beside(lambda _: 0.4, lambda _: 0.1), Rules(slower_max=5)).passed  # the control


def test_one_slow_round_and_the_first_decide_nothing() -> None:
    found = beside(lambda at: 9.0 if at in (0, 4) else 0.1, lambda _: 0.1)
    assert len(found.ours) == ROUNDS
    assert speed_reason(found, Rules()).passed
    mean = Timed(found.reports, np.array([found.ours.mean()]), found.theirs)
    assert not speed_reason(mean, Rules()).passed  # the control: the mean over rounds would have refused it


def test_each_begins_as_often_as_the_other_and_a_wide_network_is_read_few_times() -> None:
    one = Processor()
    found = timed(one.reader("a", lambda _: 30.0), one.reader("b", lambda _: 30.0), 10, one.clock)
    assert len(found.ours) == ROUNDS_MIN
    assert one.order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert found.ours == pytest.approx([3000.0] * ROUNDS_MIN)


def test_a_bloated_folder_is_refused_by_what_is_loaded_of_it_alone(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(3 * MIB))
    (tmp_path / "tokenizer.json").write_bytes(bytes(MIB))
    (tmp_path / "README.md").write_bytes(bytes(MIB))
    size = bytes_loaded(tmp_path)
    assert size == 4 * MIB
    refused = size_reason(size, MIB, Rules(size_mib_max=3.5))
    assert (refused.passed, refused.found) == (False, "4.0 MiB are loaded, of the champion 1.0")
    for rules in (Rules(size_mib_max=4), Rules(size_mib_max=0), Rules()):
        assert size_reason(size, None, rules).passed


def test_where_nobody_answers_yet_only_the_time_that_is_asked_for_is_taken() -> None:
    assert not asks_for_time(Rules(), beside=False)
    assert not asks_for_time(Rules(slower_max=0), beside=True)
    assert asks_for_time(Rules(), beside=True)
    assert asks_for_time(Rules(report_ms_max=5), beside=False)
    one = Processor()
    alone = timed(one.reader("ours", lambda _: 0.1), None, 10, one.clock)
    assert alone.theirs is None
    assert time_reason(alone, Rules(report_ms_max=11)).passed
    assert not time_reason(alone, Rules(report_ms_max=9)).passed


def test_the_sample_holds_short_and_long_reports_and_the_plan_covers_the_budget() -> None:
    texts = ["a" * length for length in range(1, 101)]
    chosen = sample(texts[::-1])
    assert len(chosen) == REPORTS
    assert (len(chosen[0]), len(chosen[-1])) == (1, 100)
    assert sample(texts[:3]) == texts[:3]
    plans = (Rules(), Rules(size_mib_max=1), Rules(slower_max=1), Rules(report_ms_max=1))
    assert len({rules_sha(plan, "maligno", 0.85) for plan in plans}) == 4
