"""What the retention rules take away besides models: leftovers, checkpoints, encoders, vectors, texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from db import retention
from db.engine import reading, writing
from db.tables import feature, model, report_version, snapshot_item
from tasks.ml.network.published import PRETRAINING
from tasks.ml.sealed import write_json, write_manifest
from tasks.model_folders import encoders_folder, note_use, pretrained_folder, trials_folder
from tasks.settings.settings import Settings
from tasks.upkeep import doctor_folders
from tasks.upkeep.retention import look
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital
from tests.scoring.retaining import NOW, Configured, age, champions, refused, tidied, vectors


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
