"""Nights that come no more are told by what somebody looks at, for they tell nothing themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from db import ledger
from db.engine import reading, writing
from flows.cli.words import tell_status
from tasks.night.monitor import look_back
from tasks.night.status import status
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor
from tests.runs import begin, ran

DUE = datetime.now(UTC) - timedelta(minutes=30)  # when the last night was to begin


def nights_missed(engine: Engine, settings: Settings) -> list[str]:
    """What the page, `laudos status` and `laudos doctor` say of nights that did not come."""
    with reading(engine) as c:
        page = [one for one in look_back(c, settings, datetime.now(UTC)).alarms if "no night" in one]
    found = [f"{one.found}; {one.advice}" for one in doctor(settings) if one.name == "nights_come"]
    line = status(settings).nights_missed
    assert page == found == ([line] if line else [])
    return page


def nightly_at(configure: Callable[..., Settings], database_url: str, line: str = "") -> Settings:
    schedules = {"nightly": line or f"{DUE:%M %H} * * *"}
    return configure(database=database_url, timezone="UTC", schedules=schedules)


def test_nights_that_come_no_more_are_told_by_page_status_and_doctor_until_one_is_done(
    engine: Engine, database_url: str, configure: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = nightly_at(configure, database_url)
    last = DUE - timedelta(days=2)
    ran(engine, "nightly", last)
    ran(engine, "nightly", DUE - timedelta(days=1), "in part")
    [told] = nights_missed(engine, settings)
    assert told.startswith(f"no night has ended without a fault since that of {last:%Y-%m-%d %H:%M}, and")
    tell_status(status(settings), settings.zone)
    assert told in capsys.readouterr().out
    under_way = begin(engine, "nightly", DUE)
    assert nights_missed(engine, settings) == []
    with writing(engine) as c:
        ledger.end_run(c, under_way, "failed", failure="in part", now=datetime.now(UTC))
    assert nights_missed(engine, settings) == [told]
    ran(engine, "nightly", DUE + timedelta(minutes=9))  # by hand
    assert nights_missed(engine, settings) == []


def test_nights_that_none_was_done_of_are_told_from_the_first_on(
    engine: Engine, database_url: str, configure: Callable[..., Settings]
) -> None:
    settings = nightly_at(configure, database_url)
    for days in (2, 1, 0):
        ran(engine, "nightly", DUE - timedelta(days=days), "in part")
    [told] = nights_missed(engine, settings)
    assert f"since that of {DUE - timedelta(days=2):%Y-%m-%d %H:%M}" in told


@pytest.mark.parametrize(
    ("hours_ago", "line"),
    [
        ([], ""),  # new
        ([24], ""),  # the last alone did not come
        ([24 * 9 + 5, 24 * 8 + 7], ""),  # by hand, as on the day of the first attempt
        ([24 * 9], "0 2 30 2 *"),
        ([24 * 9], " "),  # switched off
    ],
)
def test_where_no_night_is_missed_or_none_ever_began_by_schedule_nobody_is_nagged(
    engine: Engine,
    database_url: str,
    configure: Callable[..., Settings],
    hours_ago: list[int],
    line: str,
) -> None:
    settings = nightly_at(configure, database_url, line)
    for hours in hours_ago:
        ran(engine, "nightly", DUE - timedelta(hours=hours))
    assert nights_missed(engine, settings) == []
