"""What raises an alarm, and what does not: counts in, sentences out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.monitoring import Answers, Intake, Trouble
from tasks.night import alarms
from tasks.settings.house import MonitoringSettings

LIMITS = MonitoringSettings()
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def _intake(refused: int, new: int, last: datetime = NOW, source: str = "his") -> Intake:
    return Intake(source, new + refused, new, 0, 0, refused, refused, last)


@pytest.mark.parametrize(
    ("now", "before", "alarmed"),
    [
        ((12, 48), (10, 990), True),  # 20 % where 1 % is usual
        ((12, 48), (20, 80), False),  # 20 % is what this source always brings
        ((2, 98), (0, 1000), False),  # within the limit
        ((3, 7), (0, 1000), False),  # too few to tell
        ((12, 48), None, True),  # a source never seen before
    ],
)
def test_quarantine_alarms_at_a_jump(now: Any, before: Any, alarmed: bool) -> None:
    earlier = [_intake(*before)] if before else []
    told = list(alarms.quarantine_jumps([_intake(*now)], earlier, LIMITS))
    assert bool(told) == alarmed
    assert all("12 of 60" in one and "laudos quarantine list" in one for one in told)


def test_a_source_that_fell_silent_or_never_spoke_is_told() -> None:
    known = [_intake(0, 9, NOW - timedelta(days=3)), _intake(0, 9, NOW - timedelta(days=1), "lab")]
    told = list(alarms.silences(known, ["his", "lab", "new"], NOW, LIMITS))
    assert [one.split(":")[0] for one in told] == ["his", "new"]


def test_too_many_answers_left_to_a_person_are_told() -> None:
    def answers(review: int, auto: int) -> list[Answers]:
        return [
            Answers(NOW, "achado", 1, "maligno", "review", review),
            Answers(NOW, "achado", 1, "benigno", "auto", auto),
        ]

    def told(review: int, auto: int) -> list[str]:
        return list(alarms.indecision(answers(review, auto), LIMITS, {"achado": 1}, {}))

    assert told(10, 90) == told(6, 2) == []
    assert "60% of 100 answers" in told(60, 40)[0]


def test_runs_that_ended_badly_are_told_once_a_kind() -> None:
    troubles = [
        Trouble("classify", "failed", "NothingToWorkOn: no champion", 7, 31),
        Trouble("ingest", "crashed", None, 1, 32),
    ]
    assert list(alarms.failed_runs(troubles)) == [
        "classify run 31 failed (7 times): NothingToWorkOn: no champion",
        "ingest run 32 crashed: its process went away",
    ]
