"""The flow over several sources: each on its own, with an honest run and a summary of counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from db import lock
from db.errors import Busy, ConfigurationError, NothingToWorkOn
from db.ledger import Counts
from db.tables import run
from flows.ingest import ingest
from tasks.intake.ingest import ingest_source
from tasks.settings.settings import Settings
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row


@pytest.fixture(autouse=True)
def _without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step's own function: Prefect's part is tested with the other flows."""
    monkeypatch.setattr("flows.ingest.ingest_source", ingest_source.fn)


@pytest.fixture
def with_sources(desk: Desk, configure: Callable[..., Settings], database_url: str) -> Callable[..., Desk]:
    def configured(**sources: dict[str, Any]) -> Desk:
        desk.settings = configure(database=database_url, sources=sources, classifiers={"paaf": PAAF})
        return desk

    return configured


def states(desk: Desk) -> list[tuple[str, str]]:
    return [(r.kind, r.state) for r in desk.rows(select(run.c.kind, run.c.state).order_by(run.c.id))]


def test_every_source_is_read_and_the_run_says_so(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now), row("2", now, ""))
    summary = ingest.fn()
    assert summary.counts == summary.sources["his"] == Counts(read=2, new=1, quarantined=1)
    assert summary.failed == {}
    assert states(desk) == [("ingest", "completed")]


def test_a_source_that_fails_stops_no_other_and_the_run_says_failed(
    with_sources: Callable[..., Desk], hospital: Hospital, now: datetime
) -> None:
    desk = with_sources(torta=columns(hospital.url, table="laudo"), his=columns(hospital.url))
    hospital.add(row("1", now))
    summary = ingest.fn()
    assert summary.sources == {"his": Counts(read=1, new=1)}
    assert "did you mean 'laudos'" in summary.failed["torta"]
    assert states(desk) == [("ingest", "failed")]
    assert "torta" in desk.rows(select(run.c.failure))[0].failure


def test_where_no_source_could_be_read_the_flow_fails(
    with_sources: Callable[..., Desk], hospital: Hospital
) -> None:
    desk = with_sources(torta=columns(hospital.url, table="laudo"))
    with pytest.raises(ConfigurationError, match="torta"):
        ingest.fn()
    assert states(desk) == [("ingest", "failed")]


def test_the_ledger_calls_a_failed_ingest_by_an_error_that_a_person_may_look_up(
    with_sources: Callable[..., Desk], hospital: Hospital, now: datetime
) -> None:
    desk = with_sources(torta=columns(hospital.url, table="laudo"), his=columns(hospital.url))
    hospital.add(row("1", now))
    ingest.fn()
    with pytest.raises(ConfigurationError):
        ingest.fn("torta")
    told = [one.failure for one in desk.rows(select(run.c.failure).order_by(run.c.id))]
    assert [one.split(":")[0] for one in told] == ["DoneInPart", "ConfigurationError"]


def test_one_source_alone_can_be_read(
    with_sources: Callable[..., Desk], hospital: Hospital, now: datetime
) -> None:
    with_sources(um=columns(hospital.url), dois=columns(hospital.url))
    hospital.add(row("1", now))
    assert list(ingest.fn(source="dois").sources) == ["dois"]
    with pytest.raises(ConfigurationError, match="did you mean 'dois'"):
        ingest.fn(source="doiss")


def test_two_ingests_at_once_do_not_meet(desk: Desk) -> None:
    with lock.exclusive(desk.engine, "ingest"), pytest.raises(Busy, match="ingest"):
        ingest.fn()
    assert states(desk) == []


def test_without_a_source_the_flow_says_what_to_do(with_sources: Callable[..., Desk]) -> None:
    with_sources()
    with pytest.raises(NothingToWorkOn, match=r"laudos\.toml"):
        ingest.fn()
