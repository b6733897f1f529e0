"""A source that vanishes, a killed process, a locked database: nothing is lost, nothing invented."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from db import ledger, load, schema, sources
from db.engine import failure_of, open_engine, writing
from db.errors import Busy, DatabaseFailure, LaudosError
from db.ledger import Counts
from db.source_reader import SourceReader, SourceRow
from db.tables import report, run, source
from tasks.intake.ingest import source_table
from tasks.ledger import recorded_run
from tasks.settings.settings import Settings
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row

HOUR = timedelta(hours=1)


@pytest.fixture
def vanishing(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hospital drops its table once two pages were read."""
    read = SourceReader._keyset

    def until_gone(self: SourceReader, *args: object) -> Iterator[list[SourceRow]]:
        for number, page in enumerate(read(self, *args)):  # type: ignore[arg-type]
            yield page
            if number == 1:
                hospital.table.drop(hospital.engine)

    monkeypatch.setattr(SourceReader, "_keyset", until_gone)


@pytest.mark.usefixtures("vanishing")
def test_a_source_that_vanishes_in_the_middle_leaves_whole_pages_and_is_resumed(
    desk: Desk, hospital: Hospital, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(f"{n}", now - (90 - n) * 10 * HOUR) for n in range(12)]
    hospital.add(*rows)
    with pytest.raises(DatabaseFailure, match="source 'his'"):
        desk.ingest(now)
    taken = sorted(map(int, desk.texts()))
    assert taken == list(range(len(taken)))
    assert 0 < len(taken) < 12
    assert desk.watermark() == now - (90 - taken[-1]) * 10 * HOUR
    monkeypatch.undo()
    hospital.table.create(hospital.engine)
    hospital.add(*rows)  # it is back: the next run goes on where the last page ended
    assert desk.ingest(now).new == 12 - len(taken)


@pytest.mark.usefixtures("vanishing")
def test_a_comparison_cut_short_marks_nothing_as_deleted(
    desk: Desk, hospital: Hospital, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.add(*(row(f"{n}", now) for n in range(12)))
    with pytest.raises(DatabaseFailure):
        desk.ingest(now, full=True)
    assert desk.gone() == []
    assert desk.watermark() is None  # in order of ids, a watermark would skip what is yet to come
    assert desk.rows(select(source.c.reconciled_at)) == [(None,)]


def test_a_source_that_is_suddenly_empty_deletes_nothing(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now), row("2", now))
    desk.ingest(now)
    hospital.remove("1", "2")
    with pytest.raises(LaudosError, match="'his' is empty, but 2 reports"):
        desk.ingest(now, full=True)
    assert desk.gone() == []


def test_an_ingest_whose_turn_was_taken_over_cannot_commit(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    with writing(desk.engine) as c:
        stale = sources.begin_turn(c, "his", 60)
        sources.begin_turn(c, "his", 60)
    with pytest.raises(Busy, match="another ingest"), writing(desk.engine) as c:
        sources.move_watermark(c, stale, now, "1")
    assert desk.watermark() is None


def test_a_page_that_fails_leaves_no_trace_in_any_table(
    desk: Desk, hospital: Hospital, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is written last: where it fails, reports, labels and watermark go with it."""
    hospital.add(row("1", now, resultado="M"), row("2", now, ""))

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(ledger, "add_batch", fail)
    with pytest.raises(RuntimeError):
        desk.ingest(now)
    assert (desk.texts(), desk.labels(), desk.quarantined(), desk.watermark()) == ({}, {}, [], None)
    monkeypatch.undo()
    assert desk.ingest(now) == Counts(read=2, new=1, quarantined=1)


def test_a_locked_source_is_told_as_one_and_can_be_tried_again(
    sqlite_url: str, tmp_path: Path, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.source_schema.SQLITE_PATIENCE_S", 0.05)
    hospital = Hospital(f"sqlite:///{tmp_path}/hospital.db")
    settings = configure(
        database=sqlite_url, sources={"his": columns(hospital.url)}, classifiers={"paaf": PAAF}
    )
    with closing(sqlite3.connect(tmp_path / "hospital.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseFailure, match=r"source 'his': .*another program holds the lock") as told:
            SourceReader(source_table(settings, "his"))
    assert told.value.retryable


def test_a_locked_database_of_ours_loses_nothing(
    sqlite_url: str,
    tmp_path: Path,
    configure: Callable[..., Settings],
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("db.engine.SQLITE_BUSY_TIMEOUT_S", 0.05)
    hospital = Hospital(f"sqlite:///{tmp_path}/hospital.db")
    hospital.add(row("1", now))
    schema.upgrade(sqlite_url)
    desk = Desk(
        open_engine(sqlite_url),
        configure(database=sqlite_url, sources={"his": columns(hospital.url)}, classifiers={"paaf": PAAF}),
    )
    with closing(sqlite3.connect(tmp_path / "laudos.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseFailure, match="another program holds the lock") as told:
            desk.ingest(now)
        assert told.value.retryable
    assert desk.ingest(now) == Counts(read=1, new=1)


KILLED = """
import os, signal
from datetime import UTC, datetime
from db import ledger
from tasks.database import open_database
from tasks.intake.ingest import ingest_from
from tasks.ledger import recorded_run
from tasks.settings.settings import Settings

settings, pages, add_batch = Settings.load(), [], ledger.add_batch

def kill_in_the_third(*page):
    pages.append(page)
    if len(pages) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    add_batch(*page)

ledger.add_batch = kill_in_the_third
engine = open_database(settings)
with recorded_run(engine, settings, "ingest", exclusive="ingest") as run:
    ingest_from(engine, settings, "his", run.id, False, datetime.now(UTC))
"""


def test_a_killed_ingest_is_called_crashed_and_the_next_one_loses_and_repeats_nothing(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(*(row(f"{n}", now - (90 - n) * HOUR) for n in range(12)))
    killed = subprocess.run([sys.executable, "-c", KILLED], env=os.environ, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    before = len(desk.texts())
    assert 0 < before < 12
    with recorded_run(desk.engine, desk.settings, "ingest", exclusive="ingest"):
        pass
    states = [r.state for r in desk.rows(select(run.c.state).order_by(run.c.id))]
    assert states == ["crashed", "completed"]
    assert desk.ingest(now).new == 12 - before
    assert desk.texts() == {f"{n}": ["Punção de nódulo"] for n in range(12)}


def test_a_database_error_tells_no_text(desk: Desk, now: datetime) -> None:
    broken = {"source_id": 999, "external_id": "CANARIO", "patient_key": "CANARIO", "current_version": 1}
    with pytest.raises(SQLAlchemyError) as raised, desk.engine.begin() as c:
        c.execute(report.insert().values(**broken, created_at=now))
    assert "CANARIO" not in str(failure_of(raised.value))


def test_rows_that_a_bulk_load_refuses_are_quoted_nowhere(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    """PostgreSQL's COPY quotes the row in its DETAIL and its CONTEXT."""
    hospital.add(row("1", now))
    desk.ingest(now)
    columns = {"external_id": ["CANARIO", "CANARIO"], "patient_key": ["CANARIO", "x"]}
    every = {"source_id": 1, "current_version": 1, "created_at": now}
    with pytest.raises(DatabaseFailure) as raised, writing(desk.engine) as c:
        load.load(c, report, {"id": load.next_ids(c, report, 2), **columns}, every)
    assert "CANARIO" not in str(raised.value)
    assert sorted(desk.texts()) == ["1"]
    assert desk.ingest(now).unchanged == 1  # the connection is sound again


def test_a_server_that_goes_away_in_the_middle_of_a_page_is_told_and_leaves_no_trace(
    postgres_url: str, now: datetime
) -> None:
    schema.upgrade(postgres_url)
    engine = open_engine(postgres_url)

    def ids() -> Iterator[str]:
        yield "1"
        with engine.connect() as other:
            writers = "SELECT DISTINCT pid FROM pg_locks WHERE mode = 'RowExclusiveLock'"
            other.execute(text(f"SELECT pg_terminate_backend(pid) FROM ({writers}) AS writer"))
        yield "2"

    every = {"source_id": 1, "patient_key": "x", "current_version": 1, "created_at": now}
    with pytest.raises(DatabaseFailure) as raised, writing(engine) as c:
        _take_turn_and_load(c, ids(), every)
    assert raised.value.retryable
    with writing(engine) as c:
        assert c.scalar(select(func.count()).select_from(source)) == 0
    engine.dispose()


def _take_turn_and_load(c: Connection, external_ids: Iterator[str], every: dict[str, Any]) -> None:
    sources.begin_turn(c, "his", 60)
    load.load(c, report, {"id": load.next_ids(c, report, 2), "external_id": external_ids}, every)
