"""A plain worker works on what it can answer as others do, and leaves the rest to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

from db.engine import reading, writing
from db.errors import ConfigurationError
from db.tables import audit, champion, model, prediction, promotion, run, score_chunk, score_job
from tasks.scoring import worker
from tasks.scoring.worker import work
from tasks.settings.settings import Settings
from tests.scoring.hospital import CLASSIFIER, LABELS, TABLES, Hospital

OTHER = "outro"


def reading_sources(both: Hospital, configure: Callable[..., Settings], *names: str) -> Hospital:
    """The hospital as laudos.toml has it when the classifier reads these sources."""
    place = {"url": "sqlite:///x.db", "table": "t", "id": "id", "text": "t", "updated_at": "u"}
    asked = {CLASSIFIER: {**TABLES["classifiers"][CLASSIFIER], "sources": list(names)}}
    settings = configure(
        database=both.settings.database,
        sources={"his": place, "pacs": place},
        **{**TABLES, "classifiers": asked},
    )
    return Hospital(both.engine, settings, both.now)


@pytest.fixture
def waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`laudos worker --wait` ends where it would sleep."""

    def end(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=time.monotonic, sleep=end))


def test_a_worker_of_other_settings_than_the_jobs_leaves_it_alone(
    both: Hospital, configure: Callable[..., Settings]
) -> None:
    both.receive(8, name="pacs")
    before = reading_sources(both, configure, "his")
    now = reading_sources(both, configure, "his", "pacs")
    now.cut(now.crown())
    with pytest.raises(ConfigurationError, match="was cut by other settings"):
        work(before.settings)
    assert both.count(score_chunk, score_chunk.c.state == "done") == 0
    assert work(now.settings).written == 8


def test_a_worker_of_another_laudos_than_the_jobs_leaves_it_alone(both: Hospital) -> None:
    both.receive(8)
    both.cut(both.crown())
    with writing(both.engine) as c:
        c.execute(update(run).values(code_revision="another"))
    with pytest.raises(ConfigurationError, match="was cut by another laudos"):
        work(both.settings)
    assert both.count(prediction) == 0


@pytest.mark.usefixtures("waits_once")
def test_a_worker_that_waits_reads_laudos_toml_anew(
    hospital: Hospital, configure: Callable[..., Settings]
) -> None:
    hospital.receive(8, name="pacs")
    before = reading_sources(hospital, configure, "his")
    now = reading_sources(hospital, configure, "his", "pacs")
    now.cut(now.crown())
    with pytest.raises(KeyboardInterrupt):
        work(before.settings, wait=True)
    assert hospital.count(prediction) == 8


def test_a_worker_that_lacks_the_models_folder_leaves_the_model_its_good_name(
    both: Hospital, configure: Callable[..., Settings], tmp_path: Any
) -> None:
    both.receive(8)
    both.cut(both.crown())
    (tmp_path / "elsewhere" / "models").mkdir(parents=True)
    there = configure(database=both.settings.database, folder=str(tmp_path / "elsewhere"), **TABLES)
    with pytest.raises(ConfigurationError, match="folder of models that all machines share"):
        work(there)
    with reading(both.engine) as c:
        assert c.scalars(select(model.c.state)).all() == ["ready"]
        assert c.scalars(select(audit.c.action)).all() == []


@pytest.fixture
def broken_beside(both: Hospital, configure: Callable[..., Settings]) -> Hospital:
    """An older job of a second classifier, whose model cannot be read, beside a sound one of eight."""
    other = {"labels": LABELS, "critical": "maligno"}
    tables = {**TABLES, "classifiers": {**TABLES["classifiers"], OTHER: other}}
    hospital = Hospital(both.engine, configure(database=both.settings.database, **tables), both.now)
    hospital.receive(8)
    broken = hospital.crown_row()
    older = hospital.cut(broken)
    with writing(hospital.engine) as c:
        for table in (model, champion, promotion, score_job):
            c.execute(update(table).values(classifier=OTHER))
    newer = hospital.cut(hospital.crown())
    assert newer.id > older.id
    return hospital


def test_a_job_that_cannot_be_worked_on_stops_no_other(broken_beside: Hospital) -> None:
    worked = work(broken_beside.settings)
    assert (worked.jobs, worked.written) == ((2,), 8)
    assert list(worked.failed) == [1]
    assert "cannot be read there" in worked.failed[1]


@pytest.mark.usefixtures("waits_once")
def test_a_worker_that_waits_tells_once_what_it_cannot_work_on(
    broken_beside: Hospital, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "RETRY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        work(broken_beside.settings, wait=True)
    assert broken_beside.count(prediction) == 8
    assert sum("job 1 is left to others" in line for line in caplog.messages) == 1
