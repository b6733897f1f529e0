"""A disk with no room left: said in so many words, nothing lost, and the next run completes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import OperationalError

from db.engine import failure_of, reading
from db.errors import DatabaseFailure, LaudosError, StepFailed
from db.full_disk import inserts_refused, pages_limited
from db.tables import feature, model, prediction, report, run_batch, score_chunk
from tasks.errors import safe_form
from tasks.ml.disk import room_in
from tasks.model_folders import models_folder, pointer_path
from tasks.step import sealed
from tasks.upkeep.doctor import broken_promises, doctor
from tests.bad_input.conftest import House
from tests.learning.world import CLASSIFIER

REPORTS = 120


def full(engine: Engine, table: str) -> AbstractContextManager[None]:
    """A database that takes a little more and then nothing; a test cannot fill PostgreSQL's disk."""
    return pages_limited(engine, 4) if engine.dialect.name == "sqlite" else inserts_refused(engine, table)


def test_a_full_database_takes_in_whole_pages_or_none_and_the_next_ingest_the_rest(house: House) -> None:
    house.receive(range(REPORTS))
    with full(house.engine, "report_version"), pytest.raises(DatabaseFailure, match="the disk is full"):
        house.ingest()
    with reading(house.engine) as c:
        of_whole_pages = c.scalar(select(func.coalesce(func.sum(run_batch.c.new), 0)))
    assert house.count(report) == of_whole_pages < REPORTS
    assert broken_promises(doctor(house.settings)) == []
    house.ingest(full=True)
    assert house.count(report) == REPORTS
    assert house.states("ingest")[-1] == "completed"
    assert "running" not in house.states("ingest")
    assert doctor(house.settings) == []


def test_a_database_that_fills_up_while_scoring_keeps_whole_chunks_and_the_rest_follows(house: House) -> None:
    house.receive(range(REPORTS))
    house.ingest()
    house.retrain()
    house.receive(range(REPORTS, 2 * REPORTS))
    house.ingest()
    with full(house.engine, "prediction"), pytest.raises(DatabaseFailure, match="the disk is full"):
        house.classify()
    with reading(house.engine) as c:
        of_whole_chunks = c.scalar(select(func.coalesce(func.sum(score_chunk.c.written), 0)))
    assert house.count(prediction) == of_whole_chunks < 2 * REPORTS
    house.classify()
    assert house.count(prediction) == 2 * REPORTS
    assert "running" not in house.states("classify")
    assert doctor(house.settings) == []


def test_a_database_that_fills_up_while_learning_has_no_model_and_the_next_retraining_gives_one(
    house: House,
) -> None:
    house.receive(range(REPORTS))
    house.ingest()
    with full(house.engine, "feature"), pytest.raises(DatabaseFailure, match="the disk is full"):
        house.retrain()
    assert house.count(model) == 0
    assert broken_promises(doctor(house.settings)) == []
    assert house.retrain().decided.decision == "promoted"
    assert house.count(feature) > 0
    assert doctor(house.settings) == []


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow larger, as it does where a disk or a quota is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


PLACES = [
    ("tasks.training.train_body.train_body", 100),
    ("tasks.training.train_body.train_body", 100_000),
    ("tasks.training.train.publish", 100),
    ("tasks.training.train.publish", 2_000),
    ("tasks.training.train.publish", 50_000),
    ("tasks.model_folders.write_atomically", 10),
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("place", "size"), PLACES)
def test_wherever_the_disk_of_the_models_fills_up_it_is_said_and_the_next_retraining_completes(
    house: House, monkeypatch: pytest.MonkeyPatch, place: str, size: int
) -> None:
    house.receive(range(REPORTS))
    house.ingest()
    write = resolve_name(place)

    def with_little_room(*args: Any, **kwargs: Any) -> Any:
        with files_of_at_most(size):
            return write(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(place, with_little_room)
        with pytest.raises(LaudosError, match=r"the disk .*is full; free some space and run again") as told:
            sealed("retrain")(house.retrain)()
    assert not isinstance(told.value, StepFailed)
    assert not list(models_folder(house.settings).rglob(".partial-*"))
    assert broken_promises(doctor(house.settings)) == []
    again = house.retrain()
    assert pointer_path(house.settings, CLASSIFIER).exists()
    assert again.decided.champion_id == again.trained.model_id
    assert house.classify().written == REPORTS
    assert doctor(house.settings) == []


def test_a_full_disk_is_told_wherever_else_it_is_met() -> None:
    def write() -> None:
        Path("/dev/full").write_text("Laudo")

    with pytest.raises(LaudosError, match="the disk is full") as told:
        sealed("export")(write)()
    assert not isinstance(told.value, StepFailed)
    with pytest.raises(OSError, match="No space left") as raw:
        write()
    assert str(safe_form(raw.value)) == str(told.value)


def test_what_fails_with_room_on_the_disk_is_not_blamed_on_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="something else"), room_in(tmp_path / "not yet made"):
        raise RuntimeError("something else")


def test_a_session_that_postgres_has_no_room_to_begin_is_told_as_a_full_disk() -> None:
    """Of a failed connection psycopg knows words, but no code."""
    words = 'connection failed: FATAL:  could not write file "base/1/CANARIO": No space left on device'
    refused = OperationalError("SELECT 1", None, psycopg.OperationalError(words))
    assert "the disk is full" in str(failure_of(refused))
    assert "CANARIO" not in str(failure_of(refused))
    lost = OperationalError("SELECT 1", None, psycopg.OperationalError("server closed the connection"))
    assert "full" not in str(failure_of(lost))
