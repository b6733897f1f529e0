"""Whatever a bad night left is broken by hand, found, put right, and then sound; the rest is left alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from db import audit, lock
from db.engine import reading, writing
from db.tables import audit as audit_table
from db.tables import feature, model, prediction, run, score_chunk, score_job
from tasks.ml.network.published import PRETRAINING
from tasks.ml.sealed import write_json, write_manifest
from tasks.model_folders import pointer_path, pretrained_folder
from tasks.scoring.classify import cut_backlog, score
from tasks.upkeep.doctor import doctor
from tasks.upkeep.repair import repair
from tests.scoring.hospital import CLASSIFIER, Hospital


@pytest.fixture
def sound(both: Hospital) -> Hospital:
    both.receive(9)
    both.crown()
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)
    assert job_id is not None
    score.fn(job_id)
    return both


def a_run_whose_process_is_gone(hospital: Hospital) -> None:
    with writing(hospital.engine) as c:
        c.execute(update(run).where(run.c.id == 1).values(state="running", ended_at=None))


def a_worker_that_fell_silent(hospital: Hospital) -> None:
    hospital.receive(4)
    job = hospital.cut(1)
    leased = {"state": "leased", "leased_until": hospital.now - timedelta(days=1), "leased_by": "gone:1"}
    with writing(hospital.engine) as c:
        c.execute(update(score_chunk).where(score_chunk.c.job_id == job.id).values(leased))


def a_job_left_open(hospital: Hospital) -> None:
    with writing(hospital.engine) as c:
        c.execute(update(score_job).values(state="open", ended_at=None))


def a_pointer_that_was_lost(hospital: Hospital) -> None:
    pointer_path(hospital.settings, CLASSIFIER).unlink()


def folders_of_killed_runs(hospital: Hospital) -> None:
    root = hospital.settings.folder / "models" / CLASSIFIER
    for name in ("orphan", ".partial-x"):
        (root / name).mkdir()
        (root / name / "half").write_text("")
        os.utime(root / name, (0, 0))


def an_encoder_that_a_kill_kept_from_being_recorded(hospital: Hospital) -> None:
    folder = pretrained_folder(hospital.settings) / "achado-0123456789ab"
    folder.mkdir(parents=True)
    write_json(folder / PRETRAINING, {"run": 1, "read": {"reports": 3, "sha": "0" * 64}})
    write_manifest(folder)


DAMAGE: dict[Callable[[Hospital], None], tuple[str, int]] = {
    a_run_whose_process_is_gone: ("running_runs_live", 1),
    a_job_left_open: ("jobs_end_with_their_chunks", 1),
    a_worker_that_fell_silent: ("no_expired_leases", 1),
    a_pointer_that_was_lost: ("pointer_names_champion", 1),
    folders_of_killed_runs: ("no_orphan_folders", 2),
    an_encoder_that_a_kill_kept_from_being_recorded: ("pretrained_encoders_recorded", 1),
}


def broken(hospital: Hospital) -> set[str]:
    return {one.name.split(" ")[0] for one in doctor(hospital.settings)}


def audited(hospital: Hospital) -> list[str]:
    with reading(hospital.engine) as c:
        assert audit.broken(c) == []
        query = select(audit_table.c.subject).where(audit_table.c.action.in_(("repaired", "removed")))
        return list(c.scalars(query.order_by(audit_table.c.id)))


def test_each_damage_is_found_said_put_right_and_on_record_and_a_second_repair_finds_nothing(
    sound: Hospital,
) -> None:
    on_record = 0
    for damage, (found, things) in DAMAGE.items():
        damage(sound)
        assert broken(sound) == {found}, damage
        said: list[str] = []
        assert repair(sound.engine, sound.settings, "test", said.append) == things, damage
        assert len(said) == things
        assert broken(sound) == set(), damage
        assert repair(sound.engine, sound.settings, "test", said.append) == 0
        on_record += things
        assert len(audited(sound)) == on_record


def test_what_needs_a_persons_judgement_is_left_as_it_is_and_keeps_its_advice(sound: Hospital) -> None:
    (sound.folder_of(1) / "config.json").write_text("{}")
    with writing(sound.engine) as c:
        c.execute(update(prediction).where(prediction.c.report_version_id == 1).values(fence=0))
        c.execute(update(model).values(encoder_sha="0" * 64))
        c.execute(update(feature).values(created_at=sound.now))
    before = doctor(sound.settings)
    assert {one.name.split(" ")[0] for one in before} == {
        "champion_as_published",
        "predictions_under_their_lease",
        "vectors_have_a_model",
    }
    said: list[str] = []
    assert repair(sound.engine, sound.settings, "test", said.append) == 0
    assert said == []
    assert doctor(sound.settings) == before
    assert all(one.advice for one in before)


def test_what_lives_is_left_alone(sound: Hospital) -> None:
    """A run whose process holds its lock, a worker within its lease, a folder that may be in the making."""
    young = sound.settings.folder / "models" / CLASSIFIER / "young"
    young.mkdir()
    with writing(sound.engine) as c:
        row = {"kind": "ingest", "code_revision": "x", "config_sha": "x", "started_at": sound.now}
        run_id = c.execute(insert(run).values(row).returning(run.c.id)).scalar_one()
    with lock.exclusive(sound.engine, f"run-{run_id}"):
        assert repair(sound.engine, sound.settings, "test", print) == 0
        assert broken(sound) == set()
    assert young.exists()
    assert broken(sound) == {"running_runs_live"}


def test_folders_wait_while_a_model_is_being_trained(sound: Hospital) -> None:
    folders_of_killed_runs(sound)
    said: list[str] = []
    with lock.exclusive(sound.engine, "model"):
        assert repair(sound.engine, sound.settings, "test", said.append) == 0
    assert said == ["a model is being trained: what killed runs left is not touched now"]
    assert broken(sound) == {"no_orphan_folders"}


def test_the_command_says_what_it_does_and_what_is_left(
    sound: Hospital, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from flows.cli.questions import doctor as command

    a_run_whose_process_is_gone(sound)
    command(repair=True, as_json=True)
    printed = capsys.readouterr()
    assert all(one["ok"] for one in json.loads(printed.out))
    assert printed.err.splitlines() == [
        "run 1: its process is gone; marking it as crashed",
        "1 things were put right",
    ]
