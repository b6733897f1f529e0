"""A back-up restored into the folder in use: what bears a number that is given out anew is another's."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from pathlib import Path

from tasks.ml.splits import split_of
from tasks.model_folders import (
    baselines_path,
    data_card_path,
    every_baselines,
    fault_of,
    folder_of,
    report_path,
)
from tasks.pages.model_report import write_model_report
from tasks.training.data_card import write_data_card
from tasks.training.evaluate import baselines_on
from tasks.training.learning_data import read_part
from tasks.upkeep.backup import back_up, restore
from tasks.upkeep.retention import apply
from tests.learning.retraining import challenge, model_of, retrain
from tests.learning.world import LABELS, World, patient_key


def test_after_a_restore_the_next_night_publishes_beside_a_folder_without_a_row(
    world: World, tmp_path: Path
) -> None:
    world.add(range(60))
    challenge(world)
    back_up(world.settings, tmp_path / "backup")
    world.add(range(60, 70))
    taken_back = folder_of(world.settings, model_of(world, challenge(world, "full").model_id))
    restore(world.settings, tmp_path / "backup", overwrite=True)
    world.add(range(70, 80))
    again = model_of(world, challenge(world, "full").model_id)
    assert folder_of(world.settings, again) == taken_back.with_name(f"{taken_back.name}-2")
    assert fault_of(world.settings, again) is None
    assert taken_back.is_dir()  # it is nobody's now: for "laudos models gc"


def test_baselines_of_a_model_that_a_restore_took_back_are_not_used(world: World, tmp_path: Path) -> None:
    world.add(range(100))
    first = model_of(world, retrain(world).trained.model_id)
    back_up(world.settings, tmp_path / "backup")
    held = [number for number in range(100, 200) if split_of(patient_key(number)) == "holdout"]
    world.add(held[:2])
    taken_back = model_of(world, retrain(world).trained.model_id)
    restore(world.settings, tmp_path / "backup", overwrite=True)
    world.add(held[2:6])
    of_before = baselines_path(world.settings, taken_back).with_name("model-2-baselines.npz")
    of_before.write_bytes(baselines_path(world.settings, taken_back).read_bytes())  # by an older laudos
    again = model_of(world, retrain(world).trained.model_id)
    assert again.id == taken_back.id
    holdout = read_part(world.engine, again.snapshot_id, "holdout", LABELS)
    used = baselines_on(world.engine, world.settings, again, holdout)
    assert {len(found) for found in used.values()} == {len(holdout.ids)}
    apply(world.engine, world.settings, world.run("retention"), "retention", world.now, logging.info)
    assert every_baselines(world.settings) == [baselines_path(world.settings, one) for one in (first, again)]


def test_pages_of_what_bore_a_number_before_a_restore_are_written_anew(world: World) -> None:
    world.add(range(60))
    model = model_of(world, retrain(world).trained.model_id)
    page = report_path(world.settings, model.id, "html")
    assert write_model_report.fn(world.run("retrain"), model.id)
    for days, again in ((1, False), (-1, True)):
        written = (model.created_at + timedelta(days)).timestamp()
        os.utime(page, (written, written))
        assert write_model_report.fn(world.run("retrain"), model.id) is again
    card = data_card_path(world.settings, model.snapshot_id, "html")
    assert [write_data_card.fn(model.snapshot_id) for _ in range(2)] == [True, False]
    card.write_text("of another set")
    assert write_data_card.fn(model.snapshot_id)
