"""What the retention rules take away, and above all what they never do."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from db import lock, models, retention
from db.engine import reading, writing
from db.errors import Busy, LaudosError
from db.tables import audit, feature, model, report_version, run, score_job, snapshot_item
from tasks import doctor_folders
from tasks.database import open_database
from tasks.doctor import doctor
from tasks.ml.published import PRETRAINING
from tasks.ml.sealed import write_json, write_manifest
from tasks.model_folders import (
    encoders_folder,
    note_use,
    point_at_champion,
    pointer_path,
    pretrained_folder,
    trials_folder,
)
from tasks.retention import Removed, apply, collect, look
from tasks.settings import Settings
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital

Configured = Callable[..., Hospital]
NOW = datetime.now(UTC)


@pytest.fixture
def kept(both: Hospital, configure: Callable[..., Settings]) -> Configured:
    """The hospital under other retention rules: `kept(models=0)`."""

    def change(**rules: Any) -> Hospital:
        settings = configure(database=both.settings.database, retention=rules, **TABLES)
        return Hospital(both.engine, settings, both.now)

    return change


def champions(hospital: Hospital, number: int) -> list[int]:
    """So many in a row, each with a folder, of which the last answers."""
    made = []
    for head in range(number):
        made.append(hospital.crown_row(head))
        folder = hospital.folder_of(made[-1])
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"0" * 2**20)
    return made


def refused(hospital: Hospital, number: int) -> list[int]:
    """Challengers that never answered."""
    before = champions(hospital, 1)[0]
    with writing(hospital.engine) as c:
        first = models.get(c, before)
        assert first is not None
        made = []
        for head in range(number):
            path = f"{CLASSIFIER}/refused{head}"
            added = {key: getattr(first, key) for key in ("manifest_sha", "encoder_sha", "snapshot_id")}
            made.append(
                models.add(
                    c,
                    classifier=CLASSIFIER,
                    path=path,
                    trained="head",
                    config={},
                    config_sha="0",
                    run_id=first.run_id,
                    now=hospital.now,
                    **added,
                )
            )
            (hospital.settings.folder / "models" / path).mkdir(parents=True)
    return made


def states(hospital: Hospital) -> dict[int, str]:
    with reading(hospital.engine) as c:
        return {one.id: one.state for one in models.of_classifier(c)}


def tidied(hospital: Hospital, said: list[str] | None = None) -> Removed:
    told = [] if said is None else said
    return apply(hospital.engine, hospital.settings, hospital.run("retention"), "test", NOW, told.append)


def age(path: Path, hours: float) -> None:
    then = NOW.timestamp() - hours * 3600
    os.utime(path, (then, then))


def test_of_models_nobody_needs_the_newest_stay_and_each_removal_is_said_and_on_record(
    both: Hospital, kept: Configured
) -> None:
    hospital = kept(models=1)
    one, two, three = refused(hospital, 3)
    said: list[str] = []
    done = tidied(hospital, said)
    assert done.models == 2
    assert states(hospital) == {1: "ready", one: "removed", two: "removed", three: "ready"}
    assert not hospital.folder_of(one).exists()
    assert hospital.folder_of(three).exists()
    assert said == [
        f"removing {CLASSIFIER}/refused{head} (0.0 MiB): model {number}: beyond the 1 that 'achado' keeps "
        "besides its champions"
        for head, number in ((1, two), (0, one))
    ]
    with reading(hospital.engine) as c:
        rows = c.execute(select(audit.c.action, audit.c.subject).order_by(audit.c.id)).all()
    assert [tuple(row) for row in rows][:2] == [("removed", f"model {two}"), ("removed", f"model {one}")]
    assert rows[2].action == "retention"
    assert tidied(hospital) == Removed()


def test_the_champion_those_a_rollback_goes_to_and_the_reference_stay(kept: Configured) -> None:
    """The first champion is what every challenger is compared with, lest small steps down add up."""
    hospital = kept(models=0, rollbacks=1)
    first, second, third, fourth = champions(hospital, 4)
    assert tidied(hospital).models == 1
    assert states(hospital) == {first: "ready", second: "removed", third: "ready", fourth: "ready"}


def test_a_pointer_left_behind_by_a_killed_promotion_is_moved_on_before_its_model_goes(
    kept: Configured,
) -> None:
    hospital = kept(models=0, rollbacks=1)
    champions(hospital, 2)
    point_at_champion(hospital.engine, hospital.settings, CLASSIFIER)
    hospital.crown_row(8)  # promoted, and killed before the file; so was the next
    hospital.crown_row(9)
    assert tidied(hospital).models == 1
    pointer = json.loads(pointer_path(hospital.settings, CLASSIFIER).read_text())
    assert pointer["path"] == f"models/{CLASSIFIER}/none9"


def test_a_model_with_an_unfinished_job_or_named_as_an_encoder_stays(
    both: Hospital, kept: Configured, configure: Callable[..., Settings]
) -> None:
    hospital = kept(models=0)
    working, named, idle = refused(hospital, 3)
    for state, model_id in (("paused", working), ("stopped", idle)):
        job = {"classifier": CLASSIFIER, "model_id": model_id, "reports": 1, "run_id": 1, "state": state}
        with writing(hospital.engine) as c:
            c.execute(insert(score_job).values(**job, created_at=hospital.now))
    asked = {CLASSIFIER: TABLES["classifiers"][CLASSIFIER] | {"encoder": str(hospital.folder_of(named))}}
    settings = configure(
        **TABLES | {"classifiers": asked}, database=hospital.settings.database, retention={"models": 0}
    )
    tidied(Hospital(hospital.engine, settings, hospital.now))
    assert states(hospital) == {1: "ready", working: "ready", named: "ready", idle: "removed"}


def test_a_removed_model_is_listed_and_cannot_be_rolled_back_to(kept: Configured) -> None:
    from tasks.models import list_models, rollback

    hospital = kept(models=0, rollbacks=1)
    _, second, _, fourth = champions(hospital, 4)
    tidied(hospital)
    assert [one.state for one in list_models(hospital.settings)] == ["ready", "ready", "removed", "ready"]
    with pytest.raises(LaudosError, match=f"model {second} cannot answer again: its folder was removed"):
        rollback(hospital.settings, CLASSIFIER, second)
    assert states(hospital)[fourth] == "ready"


def test_a_rollback_at_the_same_moment_wins_or_is_refused_but_never_answers_from_an_empty_folder(
    kept: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows decide: whoever locks the model's row first. The folder is checked before that, too early."""
    from tasks import models as asked

    hospital = kept(models=0)
    (target,) = refused(hospital, 1)
    monkeypatch.setattr(asked, "_refuse_unfit", lambda *_: tidied(hospital))
    with pytest.raises(LaudosError, match="its folder was removed"):
        asked.roll_back(hospital.engine, hospital.settings, CLASSIFIER, target, "test", hospital.now)
    assert states(hospital) == {1: "ready", target: "removed"}
    other = hospital.crown_row(7)
    held, done = threading.Event(), threading.Event()

    def crown() -> None:
        with writing(hospital.engine) as c:
            assert models.reinstate(c, 1)
            models.crown(c, CLASSIFIER, 1, expected_epoch=2, now=hospital.now)
            held.set()
            done.wait(0.3)

    thread = threading.Thread(target=crown)
    thread.start()
    held.wait(10)
    with writing(hospital.engine) as c:
        assert not retention.remove_model(c, 1)
        assert retention.remove_model(c, other)
    thread.join()


def test_while_a_model_is_trained_nothing_is_removed(kept: Configured) -> None:
    hospital = kept(models=0)
    refused(hospital, 1)
    with lock.exclusive(hospital.engine, "model"), pytest.raises(Busy, match="'model'"):
        collect(hospital.settings, print)
    assert "removed" not in states(hospital).values()
    assert collect(hospital.settings, print).models == 1


def test_what_killed_runs_left_goes_after_the_grace_time_and_a_half_removed_model_at_once(
    kept: Configured,
) -> None:
    hospital = kept(models=0)
    (removed,) = refused(hospital, 1)
    tidied(hospital)
    hospital.folder_of(removed).mkdir()  # as if it had been killed between the row and the folder
    root = hospital.settings.folder / "models" / CLASSIFIER
    for name, hours in (("young", 23), ("old", 25), (".partial-young", 23), (".partial-old", 25)):
        (root / name).mkdir()
        age(root / name, hours)
    (root / "link").symlink_to(root / "old")
    import_killed = encoders_folder(hospital.settings) / ".partial-x"
    import_killed.mkdir(parents=True)
    age(import_killed, 25)
    half_written = hospital.settings.folder / ".champion-achado.json.77"
    half_written.write_text("{")
    age(half_written, 25)
    assert tidied(hospital).leftovers == 5
    assert not import_killed.exists()
    assert {path.name for path in root.iterdir()} == {"none0", "young", ".partial-young", "link"}
    assert not half_written.exists()


def test_checkpoints_go_when_their_training_ended_or_nobody_went_on_with_it(kept: Configured) -> None:
    hospital = kept()
    champions(hospital, 1)
    root = hospital.settings.folder / "training" / CLASSIFIER
    ended = f"{'0' * 12}-0"
    for name, days in ((ended, 0), ("young-key", 13), ("old-key", 15)):
        (root / name).mkdir(parents=True)
        (root / name / "state.safetensors").write_bytes(b"0")
        for path in (root / name / "state.safetensors", root / name):
            age(path, days * 24)
    assert tidied(hospital).checkpoints == 2
    assert [path.name for path in root.iterdir()] == ["young-key"]


def pretrained(hospital: Hospital, name: str, days: float) -> Path:
    """An encoder that was pre-trained here so long ago, sealed."""
    folder = pretrained_folder(hospital.settings) / name
    folder.mkdir(parents=True)
    write_json(folder / PRETRAINING, {"format": 1})
    write_manifest(folder)
    age(folder, 24 * days)
    return folder


def test_of_encoders_that_were_pre_trained_here_those_in_use_and_the_newest_stay(
    kept: Configured, configure: Callable[..., Settings]
) -> None:
    hospital = kept()
    taught, named, *others = (pretrained(hospital, f"{CLASSIFIER}-{days}", days) for days in (9, 8, 7, 6, 5))
    other = pretrained(hospital, "outro-9", 9)
    made = hospital.crown_row()
    with writing(hospital.engine) as c:
        c.execute(update(model).where(model.c.id == made).values(config={"encoder": str(taught)}))
    asked = {CLASSIFIER: TABLES["classifiers"][CLASSIFIER] | {"encoder": str(named)}}
    rules = {"database": hospital.settings.database, "retention": {"pretrained": 1}}
    hospital = Hospital(hospital.engine, configure(**TABLES | {"classifiers": asked}, **rules), hospital.now)
    said: list[str] = []
    assert tidied(hospital, said).encoders == 2
    assert [path.exists() for path in (taught, named, *others, other)] == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    assert all("beyond the 1 pre-trained encoders that 'achado' keeps" in one for one in said)
    # nothing names them any more, and their model's folder is gone
    with writing(hospital.engine) as c:
        c.execute(update(model).where(model.c.id == made).values(state="removed"))
    assert tidied(kept(pretrained=0)).encoders == 4


def test_the_doctor_tells_of_a_pre_trained_encoder_that_lacks_a_file(kept: Configured) -> None:
    hospital = kept()
    whole, broken = (pretrained(hospital, f"{CLASSIFIER}-{name}", 0) for name in ("whole", "broken"))

    def told() -> list[tuple[bool, str]]:
        with reading(hospital.engine) as c:
            found = list(doctor_folders.examine(c, hospital.settings, NOW))
        return [(one.ok, one.found) for one in found if one.name == "pretrained_as_published"]

    assert [ok for ok, _ in told()] == [True]
    (broken / PRETRAINING).unlink()
    assert told() == [(False, f"encoder {broken.name}")]
    assert whole.exists()


def test_what_was_found_of_back_ends_goes_with_its_model_or_when_nobody_uses_it(kept: Configured) -> None:
    hospital = kept()
    hospital.crown_row(0)
    root = trials_folder(hospital.settings)
    root.mkdir(parents=True)
    used, cascade, idle, foreign = (
        root / f"{sha * 16}-{here}.json"
        for sha, here in (("0", "a"), ("0", "cascade-a"), ("0", "b"), ("7", "a"))
    )
    half_written = root / ".0-a.json.77"
    for path, days in ((used, 91), (cascade, 89), (idle, 91), (foreign, 0), (half_written, 2)):
        path.write_text("{}")
        age(path, 24 * days)
    note_use(used)
    done = tidied(hospital)
    assert (done.trials, done.leftovers) == (2, 1)
    assert sorted(root.iterdir()) == sorted([used, cascade])


def vectors(hospital: Hospital, encoder: str, versions: list[int], when: datetime) -> None:
    with writing(hospital.engine) as c:
        row = {"vector": b"1234", "sketch": b"12", "tokens_seen": 1, "tokens_total": 1, "created_at": when}
        rows = [{"encoder_sha": encoder * 64, "report_version_id": one, **row} for one in versions]
        c.execute(insert(feature), rows)


def test_vectors_go_with_the_last_model_of_their_encoder(
    kept: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_A_BATCH", 2)
    hospital = kept()
    hospital.receive(5)
    hospital.crown_row()
    vectors(hospital, "e", [1, 2, 3, 4, 5], hospital.now)
    vectors(hospital, "a", [1, 2, 3, 4, 5], hospital.now)
    vectors(hospital, "f", [1], NOW)  # of a training that was killed just now
    assert tidied(hospital).features == 5
    assert hospital.count(feature, feature.c.encoder_sha == "e" * 64) == 5
    assert hospital.count(feature, feature.c.encoder_sha == "f" * 64) == 1
    assert tidied(kept(features_after="1d")).features == 5


def test_texts_of_superseded_versions_go_only_when_asked_and_never_those_a_training_set_needs(
    kept: Configured,
) -> None:
    hospital = kept()
    hospital.receive(3)
    for external_id in ("L0", "L1"):
        hospital.amend(external_id)
    hospital.crown_row()
    with writing(hospital.engine) as c:
        item = {"snapshot_id": 1, "report_version_id": 1, "label": "maligno", "origin": "source"}
        c.execute(insert(snapshot_item).values(**item, split="train"))
    vectors(hospital, "e", [1, 2, 3], hospital.now)
    assert tidied(hospital).texts == 0
    assert tidied(kept(superseded_text_after="9000d")).texts == 0
    asked = kept(superseded_text_after="1d")
    assert look(asked.engine, asked.settings, NOW, print).texts == 1
    assert tidied(asked).texts == 1
    with reading(hospital.engine) as c:
        query = select(report_version.c.id, report_version.c.raw_sha).where(report_version.c.text.is_(None))
        ((emptied, sha),) = c.execute(query).all()
        sketched = set(c.scalars(select(feature.c.report_version_id).where(feature.c.sketch.is_not(None))))
    assert (emptied, len(sha)) == (2, 64)
    assert sketched == {1, 3}  # hashes of a text's words go with the text


def test_a_dry_run_says_everything_and_changes_nothing(kept: Configured) -> None:
    hospital = kept(models=0, superseded_text_after="1d")
    hospital.receive(2)
    refused(hospital, 1)
    with writing(hospital.engine) as c:
        c.execute(update(model).where(model.c.id == 2).values(encoder_sha="a" * 64))
    vectors(hospital, "a", [1, 2], hospital.now)
    said: list[str] = []
    found = collect(hospital.settings, said.append, dry_run=True)
    assert (found.dry_run, found.models, found.features) == (True, 1, 2)
    assert [one.split(" ")[:2] for one in said] == [
        ["would", "remove"],
        ["would", "remove"],
        ["would", "empty"],
    ]
    assert hospital.count(audit) == hospital.count(run, run.c.kind == "retention") == 0
    real = collect(hospital.settings, print)
    assert (real.models, real.features) == (found.models, found.features)


def test_after_it_the_doctor_is_content(both: Hospital, kept: Configured) -> None:
    both.crown(head=0)
    both.crown(head=1)
    both.crown(head=2)
    both.crown(head=3)
    hospital = kept(models=0, rollbacks=1)
    assert collect(hospital.settings, print).models == 1
    open_database(hospital.settings)
    assert doctor(hospital.settings) == []


def test_the_command_prints_one_document_with_json(
    kept: Configured, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli_models import gc

    hospital = kept(models=0)
    refused(hospital, 1)
    gc(dry_run=True, as_json=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["models"] == 1
    assert "would remove" in printed.err
    gc(dry_run=False, as_json=False)
    assert "removing achado/refused0" in capsys.readouterr().out
