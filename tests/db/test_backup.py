"""What is backed up while laudos writes comes back whole: the doctor is sound, and answers are the same."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.engine import make_url

from db import backup as database
from db import lock, schema, scoring
from db.engine import open_engine, reading, writing
from db.errors import Busy, ConfigurationError, DatabaseFailure, LaudosError
from db.tables import prediction, report, score_job
from tasks import database as opened
from tasks.database import open_database
from tasks.ledger import recorded_run
from tasks.ml.errors import BrokenArtifact
from tasks.ml.sealed import manifest_sha_of, write_json, write_manifest
from tasks.model_folders import encoders_folder, pretrained_folder
from tasks.models.models import rollback
from tasks.pretraining.record import record
from tasks.scoring.jobs import stop_job
from tasks.settings.settings import Settings
from tasks.upkeep.backup import back_up, restore
from tasks.upkeep.backup_folders import copy_encoders
from tasks.upkeep.doctor import doctor
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital


def encoders(hospital: Hospital) -> list[Path]:
    """One that was pre-trained here and one that was imported, each sealed."""
    facts = {"run": 1, "read": {"reports": 0, "sha": "0"}}
    with writing(hospital.engine) as c:
        record(c, "some-encoder", facts, hospital.now)
    made = []
    for root, name in ((pretrained_folder, "pretraining.json"), (encoders_folder, "laudos-encoder.json")):
        folder = root(hospital.settings) / "some-encoder"
        folder.mkdir(parents=True)
        write_json(folder / name, facts)
        write_manifest(folder)
        made.append(folder)
    return made


def test_an_encoder_that_retention_takes_away_while_it_is_copied_stops_no_back_up(
    configure: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configure(**TABLES)
    folder = pretrained_folder(settings) / "some-encoder"
    folder.mkdir(parents=True)
    write_json(folder / "pretraining.json", {})
    write_manifest(folder)

    def interrupted(source: Path, _to: Path) -> None:
        shutil.rmtree(source)
        source.stat()

    monkeypatch.setattr(shutil, "copytree", interrupted)
    copied, [left_out] = copy_encoders(settings, tmp_path / "kept")
    assert copied == []
    assert "some-encoder is not there" in left_out


@contextmanager
def somebody_writing(hospital: Hospital) -> Iterator[None]:
    """Reports go on coming in until the block ends; at least one batch before it begins."""
    stop, began = threading.Event(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            hospital.receive(5, name="outro")
            began.set()

    thread = threading.Thread(target=write)
    thread.start()
    began.wait(60)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def destroy(hospital: Hospital, *, models: bool = True) -> None:
    """The disk is gone: no table, and with `models` no model folder."""
    open_database(hospital.settings).dispose()
    if hospital.engine.dialect.name == "sqlite":
        hospital.engine.dispose()
        for path in Path(str(hospital.engine.url.database)).parent.glob("laudos.db*"):
            path.unlink()
    else:
        with writing(hospital.engine) as c:
            c.execute(text("DROP SCHEMA public CASCADE"))
            c.execute(text("CREATE SCHEMA public"))
    if models:
        shutil.rmtree(hospital.settings.folder)


def answers(hospital: Hospital) -> list[Any]:
    with reading(hospital.engine) as c:
        query = select(prediction).order_by(prediction.c.model_id, prediction.c.report_version_id)
        return [tuple(row) for row in c.execute(query)]


def test_what_was_backed_up_under_a_writer_comes_back_sound_with_the_same_answers(
    hospital: Hospital, tmp_path: Path
) -> None:
    before = answers(hospital)
    made = encoders(hospital)
    with somebody_writing(hospital):
        done = back_up(hospital.settings, tmp_path / "kept")
    assert (done.models, done.encoders, done.left_out) == (2, 2, [])
    destroy(hospital)
    restored = restore(hospital.settings, tmp_path / "kept", overwrite=False)
    assert (restored.models, restored.encoders, restored.findings) == (2, 2, [])
    assert all(manifest_sha_of(folder) for folder in made)
    assert restored.rows["report"] >= 17
    assert answers(hospital) == before
    assert len(before) == 12
    # views, and the model before the champion, work as before
    with reading(hospital.engine) as c:
        assert c.scalar(text("SELECT count(*) FROM current_prediction")) == 12
    assert rollback(hospital.settings, CLASSIFIER).model_id == 1
    assert (hospital.settings.folder / f"champion-{CLASSIFIER}.json").exists()


def test_a_lost_database_comes_back_beside_its_models_and_only_it_works_with_them(
    hospital: Hospital, tmp_path: Path
) -> None:
    back_up(hospital.settings, tmp_path / "kept")
    destroy(hospital, models=False)
    if hospital.engine.dialect.name == "postgresql":
        schema.upgrade(hospital.settings.database)  # its tables, empty; SQLite would make them by itself
    opened._opened.cache_clear()
    with pytest.raises(ConfigurationError, match=r'made none of them: .*run "laudos db restore"'):
        open_database(hospital.settings)
    restored = restore(hospital.settings, tmp_path / "kept", overwrite=False)
    assert restored.findings == []
    assert len(answers(hospital)) == 12


def test_that_a_back_up_is_of_days_ago_is_no_finding_of_its_restore(
    hospital: Hospital, tmp_path: Path
) -> None:
    # at 02:00 in São Paulo, as the schedule asks
    replace(hospital, now=hospital.now.replace(hour=5)).run("nightly")
    assert [one.name for one in doctor(hospital.settings)] == ["nights_come"]
    back_up(hospital.settings, tmp_path / "kept")
    open_database(hospital.settings).dispose()
    assert restore(hospital.settings, tmp_path / "kept", overwrite=True).findings == []


def test_a_database_with_rows_is_replaced_only_when_asked(hospital: Hospital, tmp_path: Path) -> None:
    back_up(hospital.settings, tmp_path / "kept")
    hospital.receive(3, name="outro")
    hospital.change("L1", deleted_at=hospital.now)
    with pytest.raises(ConfigurationError, match=r"holds rows, .*say --overwrite"):
        restore(hospital.settings, tmp_path / "kept", overwrite=False)
    with lock.exclusive(hospital.engine, "ingest"), pytest.raises(Busy):
        restore(hospital.settings, tmp_path / "kept", overwrite=True)
    assert hospital.count(report) == 15
    open_database(hospital.settings).dispose()
    assert restore(hospital.settings, tmp_path / "kept", overwrite=True).findings == []
    assert hospital.count(report) == 12
    assert hospital.count(report, report.c.deleted_at.is_not(None)) == 0


def test_a_back_up_of_the_other_kind_is_refused_with_what_beginning_empty_costs(
    engine: Engine,
    configure: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    here, there = "sqlite_url", "postgres_url"
    if engine.dialect.name == "postgresql":
        here, there = there, here
        binaries = request.getfixturevalue("postgres_server").binaries
        monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    back_up(configure(database=request.getfixturevalue(here), **TABLES), tmp_path / "kept")
    other = configure(database=request.getfixturevalue(there), **TABLES)
    with pytest.raises(ConfigurationError, match=r"nothing is carried over .* every erasure again"):
        restore(other, tmp_path / "kept", overwrite=True)


def test_a_restore_waits_for_a_scoring_run_too(hospital: Hospital, tmp_path: Path) -> None:
    """It holds none of the locks; nor does a worker, of which only its lease tells."""
    back_up(hospital.settings, tmp_path / "kept")
    hospital.receive(8)
    job, lease = hospital.cut(2), hospital.settings.scoring.lease

    def claim(worker: str, ago: timedelta) -> None:
        with writing(hospital.engine) as c:
            assert scoring.claim(c, job.id, worker, lease, scoring.lease_clock(c) - ago)

    def refused(because: str) -> None:
        with pytest.raises(Busy, match=because):
            restore(hospital.settings, tmp_path / "kept", overwrite=True)

    with recorded_run(hospital.engine, hospital.settings, "classify") as run:
        refused(f"run {run.id} is under way; restore when it has ended")
    claim("silent:1:2:3", 2 * lease)
    claim("elsewhere:1:2:3", timedelta(0))
    refused(f"a worker is at job {job.id}; .*laudos jobs stop {job.id}")
    assert hospital.count(score_job) == 2
    stop_job(hospital.settings, job.id)
    restore(hospital.settings, tmp_path / "kept", overwrite=True)
    assert hospital.count(score_job) == 1


def test_a_damaged_model_is_left_out_and_named_and_a_whole_one_is_not_touched(
    hospital: Hospital, tmp_path: Path
) -> None:
    back_up(hospital.settings, tmp_path / "sound")
    (hospital.folder_of(1) / "config.json").write_text("{}", encoding="utf-8")
    champion = hospital.folder_of(2) / "config.json"
    os.utime(champion, (1, 1))
    own, imported = encoders(hospital)
    (own / "pretraining.json").write_text("{}", encoding="utf-8")
    done = back_up(hospital.settings, tmp_path / "later")
    assert (done.models, done.encoders) == (1, 1)
    assert "model 1" in done.left_out[0]
    assert "config.json was altered" in done.left_out[0]
    assert "encoder some-encoder" in done.left_out[1]
    assert not (tmp_path / "later" / "pretrained" / own.name).exists()
    assert (tmp_path / "later" / "encoders" / imported.name).exists()
    restore(hospital.settings, tmp_path / "sound", overwrite=True)
    assert (hospital.folder_of(1) / "config.json").read_text("utf-8") != "{}"
    assert champion.stat().st_mtime == 1


def test_a_restore_replaces_no_other_model_that_is_whole(hospital: Hospital, tmp_path: Path) -> None:
    back_up(hospital.settings, tmp_path / "kept")
    one, another = hospital.folder_of(1), hospital.folder_of(2)
    shutil.rmtree(one)
    shutil.copytree(another, one)
    with pytest.raises(LaudosError, match=r"body0-head0 is whole, and not what lies in the back-up"):
        restore(hospital.settings, tmp_path / "kept", overwrite=True)
    assert manifest_sha_of(one) == manifest_sha_of(another)


def test_an_altered_back_up_changes_nothing(hospital: Hospital, tmp_path: Path) -> None:
    killed, under_way = tmp_path / ".laudos-backup-monday", tmp_path / ".laudos-backup-tuesday"
    for path in (killed, under_way):
        path.mkdir()
    os.utime(killed, (1, 1))
    done = back_up(hospital.settings, tmp_path / "kept")
    assert (killed.exists(), under_way.exists()) == (False, True)
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert done.revision == schema.head()
    shutil.rmtree(hospital.folder_of(1))
    (path,) = (tmp_path / "kept" / "models").rglob("body0-head0/config.json")
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(BrokenArtifact, match=r"config.json was altered"):
        restore(hospital.settings, tmp_path / "kept", overwrite=True)
    file = tmp_path / "kept" / database.FILES[hospital.engine.dialect.name]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(LaudosError, match="was altered since"):
        restore(hospital.settings, tmp_path / "kept", overwrite=True)
    with pytest.raises(ConfigurationError, match="is no back-up of laudos"):
        restore(hospital.settings, tmp_path, overwrite=True)
    assert len(answers(hospital)) == 12
    with pytest.raises(ConfigurationError, match="exists already"):
        back_up(hospital.settings, tmp_path / "kept")


def test_a_restore_that_fails_leaves_the_database_as_it_was(hospital: Hospital, tmp_path: Path) -> None:
    file = tmp_path / database.FILES[hospital.engine.dialect.name]
    file.write_bytes(b"no database " * 1000)
    with pytest.raises(DatabaseFailure, match=r"is what it was"):
        database.read_into(hospital.engine, file)
    assert len(answers(hospital)) == 12


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_restore_that_is_cut_off_leaves_the_database_as_it_was(hospital: Hospital, tmp_path: Path) -> None:
    file = database.write(hospital.engine, tmp_path)
    whole = file.read_bytes()
    hospital.receive(1, name="outro")
    for kept in (0.5, 0.9):  # what pg_restore has told by then is sound
        file.write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(DatabaseFailure, match="is what it was"):
            database.read_into(hospital.engine, file)
    assert hospital.count(report) == 13
    assert len(answers(hospital)) == 12


def test_a_back_up_from_before_an_upgrade_comes_back_over_the_upgraded_database(
    hospital: Hospital, database_url: str, tmp_path: Path
) -> None:
    before = answers(hospital)
    hospital.engine.dispose()
    schema.downgrade(database_url, "0006")
    assert back_up(hospital.settings, tmp_path / "kept").revision == "0006"
    schema.upgrade(database_url)
    hospital.receive(3, name="outro")
    open_database(hospital.settings).dispose()
    assert restore(hospital.settings, tmp_path / "kept", overwrite=True).findings == []
    assert answers(hospital) == before
    assert hospital.count(report) == 12


@pytest.mark.postgres
def test_a_pg_dump_older_than_the_server_is_refused_with_what_to_install(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.upgrade(postgres_url)
    engine = open_engine(postgres_url)
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n", encoding="utf-8")
    old.chmod(0o755)
    monkeypatch.setattr(database, "CLIENTS", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(
        ConfigurationError, match=r"pg_dump is of version 9 and the server of version \d+: .*"
    ):
        database.write(engine, tmp_path)
    old.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"pg_dump is not installed .*postgresql-client-\d+"):
        database.write(engine, tmp_path)
    engine.dispose()


def test_a_password_stands_on_no_list_of_processes_and_in_no_file() -> None:
    url = make_url("postgresql+psycopg://laudos@db.local:5433/laudos").set(password="ca:na\\ry")
    conninfo, environment = database.connection_of(open_engine(url.render_as_string(False)))
    assert "ca:na" not in conninfo
    assert "host=db.local" in conninfo
    assert "port=5433" in conninfo
    assert environment == {"PGPASSWORD": "ca:na\\ry"}


def test_pg_dump_is_not_told_what_psycopg_alone_knows() -> None:
    url = "postgresql+psycopg://laudos@db.local/laudos?prepare_threshold=5&autocommit=1&sslmode=require"
    conninfo, _ = database.connection_of(open_engine(url))
    assert "sslmode=require" in conninfo
    assert "prepare_threshold" not in conninfo
    assert "autocommit" not in conninfo
