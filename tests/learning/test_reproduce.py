"""A model is made again from what was recorded of it, bit for bit, and nothing is left of the trial.

Each way in which it cannot be is tried, and must be told.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from db import snapshots, sqlite_copy
from db.engine import reading, writing
from db.tables import metadata, model, report_version, snapshot_item
from flows.cli.evidence_words import tell_reproduced
from tasks.inspection.reproduce import reproduce
from tasks.training import learning_data, train, train_body
from tasks.training.plan import config_sha
from tasks.training.training_set import content_sha, freeze
from tests.learning.retraining import alter, challenge, model_of, retrain
from tests.learning.world import CLASSIFIER, TRAINING, World

CIRCUMSTANCES_HERE = {"code"}  # the tests' runs bear a made-up revision


def state_of(world: World) -> tuple[dict[str, int], set[Path]]:
    """Rows of every table, and every path below the data folder."""
    with reading(world.engine) as c:
        counts = {
            name: int(c.scalar(select(func.count()).select_from(table)) or 0)
            for name, table in metadata.tables.items()
        }
    return counts, set(world.settings.folder.rglob("*"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves a copy of what all of them begin with."""
    return tmp_path_factory.mktemp("taught")


@pytest.fixture
def taught(world: World, kept: Path) -> World:
    """A whole network, and after more reports a new head on its body."""
    database, folder = Path(str(world.engine.url.database)), world.settings.folder
    if not (kept / "laudos.db").exists():
        world.add(range(80))
        retrain(world)
        world.add(range(80, 110))
        assert challenge(world).trained == "head"
        sqlite_copy.copy(database, kept / "laudos.db")
        shutil.copytree(folder, kept / "folder")
    else:
        world.engine.dispose()
        for beside in ("-wal", "-shm"):
            database.with_name(database.name + beside).unlink(missing_ok=True)
        shutil.copyfile(kept / "laudos.db", database)
        shutil.copytree(kept / "folder", folder, dirs_exist_ok=True)
    return world


def test_a_network_and_a_head_come_out_the_same_and_nothing_is_left_behind(
    taught: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_of(taught)
    splits_read = []

    def listen(*given: object) -> learning_data.Part:
        splits_read.append(given[2])
        return real(*given)  # type: ignore[arg-type]

    real = learning_data.read_part
    monkeypatch.setattr(train, "read_part", listen)
    for number, body in ((1, "trained again"), (2, "that of model 1, as frozen")):
        found = reproduce(taught.engine, taught.settings, number)
        assert (found.same, found.differences, found.largest_difference) == (True, [], 0.0)
        assert (found.body, found.encoded) == (body, 0)
        assert {one.what for one in found.circumstances} == CIRCUMSTANCES_HERE
    assert state_of(taught) == before
    assert set(splits_read) == {"train", "calibration"}


def test_a_setting_that_there_is_no_longer_is_told_before_anything_is_trained(
    taught: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tasks.inspection.reproduce._train_again", lambda *_: pytest.fail("nothing may be trained here")
    )
    config = model_of(taught, 1).config
    config["training"]["exercises"] = 24
    with writing(taught.engine) as c:
        altered = update(model).where(model.c.id == 1)
        c.execute(altered.values(config=config, config_sha=config_sha(config)))
    (told,) = reproduce(taught.engine, taught.settings, 1).differences
    assert (told.what, told.recorded) == ("settings", "those of an older laudos")


SHORT = "memory was too short for up to 16,384 tokens at once: trained with 192"


def test_another_seed_is_another_model(
    taught: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: what was recorded is altered, consistently, and the weights tell."""
    config = model_of(taught, 1).config | {"seed": 7}
    with writing(taught.engine) as c:
        altered = update(model).where(model.c.id == 1)
        c.execute(altered.values(config=config, config_sha=config_sha(config)))
    monkeypatch.setattr(train_body, "crowded", lambda *_: (SHORT,))
    found = reproduce(taught.engine, taught.settings, 1)
    assert not found.same
    assert found.largest_difference
    assert {"weights", "laudos.json: seed"} <= {one.what for one in found.differences}
    assert ("laudos.toml: seed", "7") in {(one.what, one.recorded) for one in found.circumstances}
    # memory that ran out this time is where to look, too
    assert ("as asked for", SHORT) in {(one.recorded, one.now) for one in found.circumstances}
    tell_reproduced(found)
    told = capsys.readouterr().out
    assert "NOT the same: model 1 (full)" in told
    assert "tensors differ, by up to" in told


def test_settings_that_changed_or_went_are_told_and_the_recorded_ones_are_used(
    taught: World, reconfigured: Callable[..., World]
) -> None:
    today = reconfigured(taught, training=TRAINING | {"layers": 2, "pooling": "attention"}, review_error=0.1)
    found = reproduce(today.engine, today.settings, 2)
    assert found.same
    told = {one.what: one.now for one in found.circumstances}
    assert told["laudos.toml: training.layers"] == "2 (the recorded value was used)"
    assert "laudos.toml: review_error" in told
    # recorded only where it is another than it was before one could choose
    was = {one.what: one.recorded for one in found.circumstances}
    assert was["laudos.toml: training.pooling"] == "network"
    without = today.settings.model_copy(update={"classifiers": {}})
    assert reproduce(today.engine, without, 2).same


def test_vectors_that_were_cleared_away_are_computed_and_not_kept(taught: World) -> None:
    with writing(taught.engine) as c:
        c.execute(metadata.tables["feature"].delete())
    before = state_of(taught)
    found = reproduce(taught.engine, taught.settings, 2)
    assert found.encoded > 0
    assert found.largest_difference is not None
    assert found.largest_difference < 1e-3
    assert state_of(taught) == before


def test_what_is_missing_or_altered_is_told_before_anything_is_trained(
    taught: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing may be trained here")

    monkeypatch.setattr("tasks.inspection.reproduce.taught_by", refuse)

    def told(number: int) -> dict[str, str]:
        found = reproduce(taught.engine, taught.settings, number)
        assert not found.same
        assert found.largest_difference is None
        return {one.what: one.now for one in found.differences}

    with reading(taught.engine) as c:
        teaching = next(item for item, split, _ in snapshots.items(c, 1) if split == "train")
    with writing(taught.engine) as c:
        one = report_version.c.id == teaching.report_version_id
        c.execute(update(report_version).where(one).values(text=None))
    assert told(1) == {"texts": "1 of those that taught it were erased or emptied since"}
    with writing(taught.engine) as c:
        theirs = snapshot_item.c.report_version_id == teaching.report_version_id
        c.execute(update(snapshot_item).where(theirs).values(label="maligno"))
        c.execute(update(snapshot_item).where(~theirs).values(label="benigno"))
        c.execute(update(model).where(model.c.id == 1).values(config={"seed": 3}))
    alter(taught, 1)
    assert set(told(1)) == {"texts", "training set", "settings", "model folder"}


def test_the_items_of_a_training_set_are_read_as_they_were_frozen_on_both_databases(both: World) -> None:
    both.add(range(60))
    frozen = freeze(
        both.engine, both.run("retrain"), CLASSIFIER, both.settings.classifier(CLASSIFIER), both.now
    )
    both.forget([3])
    with reading(both.engine) as c:
        found = snapshots.get(c, frozen)
        items = snapshots.items(c, frozen)
    assert found is not None
    assert content_sha([item for item, *_ in items], [split for _, split, _ in items]) == found.sha
    assert [there for *_, there in items].count(False) == 1


@pytest.mark.parametrize("pooling", ["attention", "sentences"])
def test_a_network_that_weighs_its_tokens_comes_out_the_same(
    pooling: str, world: World, reconfigured: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = reconfigured(world, training=TRAINING | {"pooling": pooling, "windows": "conclusion"})
    world.add(range(60))
    with monkeypatch.context() as patched:
        patched.setattr(train_body, "crowded", lambda *_: (SHORT,))
        made = challenge(world)
    assert SHORT in made.notes
    found = reproduce(world.engine, world.settings, made.model_id)
    assert (found.same, found.differences) == (True, [])
    then = {one.what: (one.recorded, one.now) for one in found.circumstances}
    assert then["batches"] == (SHORT, "as asked for")
