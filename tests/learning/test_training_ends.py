"""A training that ends before its last step, from laudos.toml to the model's report, and made again so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from db.engine import reading
from db.tables import metric
from tasks.inspection.reproduce import reproduce
from tasks.ml.network.artifact import read_facts
from tasks.ml.training.body_training import TrainLog
from tasks.model_folders import folder_of
from tasks.models.models import show_model
from tasks.pages.model_report import report_of
from tasks.training import train_body
from tasks.training.learning_data import read_part
from tests.learning.retraining import challenge, model_of, retrain
from tests.learning.world import LABELS, TRAINING, World


def curve(world: World, model_id: int) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value) of every figure of the training."""
    asked = (metric.c.model_id == model_id) & (metric.c.population == "training")
    found: dict[str, list[tuple[int, float]]] = {}
    with reading(world.engine) as c:
        for row in c.execute(select(metric).where(asked).order_by(metric.c.id)):
            found.setdefault(row.name, []).append((int(row.slice.removeprefix("step=")), row.value))
    return found


def test_held_out_patients_end_a_training_and_teach_nothing(
    world: World, reconfigured: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = reconfigured(world, training=TRAINING | {"early_stopping": 1, "epochs": 12.0})
    world.add(range(80))
    # half of all labels are others than the words say: there is nothing to grow better at
    world.say(range(0, 80, 4), "maligno")
    world.say(range(1, 80, 4), "benigno")
    given: list[tuple[list[str], list[str]]] = []

    def listen(*args: Any, held_out: Any, **rest: Any) -> TrainLog:
        given.append((list(args[2]), list(held_out.texts)))
        return real(*args, held_out=held_out, **rest)

    real = train_body.train_body
    monkeypatch.setattr(train_body, "train_body", listen)
    made = retrain(world)
    [(read, held)] = given
    split = read_part(world.engine, 1, "train", LABELS)
    assert held
    assert sorted(read + held) == sorted(split.texts)  # a report a patient, and no other split's

    model = model_of(world, made.trained.model_id)
    facts = read_facts(folder_of(world.settings, model))
    [ended] = facts.training.values()
    assert ended["ended"] == "early"
    assert ended["kept_step"] < ended["steps"] < ended["planned_steps"]
    [note] = made.trained.notes
    assert note.startswith(
        f"training: ended at step {ended['steps']} of {ended['planned_steps']}, because held"
    )
    points = curve(world, model.id)
    assert points["loss"][-1][0] == points["held_out_log_loss"][-1][0] == ended["steps"]
    assert min(points["held_out_log_loss"], key=lambda one: one[1])[0] == ended["kept_step"]
    page = report_of(world.engine, world.settings, model, None).markdown
    assert "## How it learnt" in page
    assert "![Loss of the training by step](data:image/png" in page
    again = reproduce(world.engine, world.settings, model.id)
    assert (again.same, again.differences) == (True, [])


def test_a_limit_of_time_ends_a_training_that_is_made_again_without_one(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world = reconfigured(world, training=TRAINING | {"max_minutes": 1e-6})
    world.add(range(60))
    made = challenge(world)
    facts = read_facts(folder_of(world.settings, model_of(world, made.model_id)))
    assert facts.training["training"]["ended"] == "time"
    assert facts.training["training"]["steps"] == 1
    planned = facts.training["training"]["planned_steps"]
    assert made.notes == (f"training: ended at step 1 of {planned}, because time was up",)
    assert [step for step, _ in curve(world, made.model_id)["loss"]] == [1]
    assert show_model(world.settings, made.model_id).learnt == [*made.notes]
    again = reproduce(world.engine, world.settings, made.model_id)
    assert again.same
    told = {one.what: one.recorded for one in again.circumstances}
    assert told["limit of time"] == f"ended its training at step 1 of {planned}"


def test_a_head_has_no_curve(world: World) -> None:
    world.add(range(80))
    whole = retrain(world)
    world.add(range(80, 110))
    head = challenge(world)
    assert head.trained == "head"
    assert curve(world, whole.trained.model_id)
    assert not curve(world, head.model_id)


def test_too_few_patients_to_hold_any_out_are_told(world: World, reconfigured: Callable[..., World]) -> None:
    world = reconfigured(world, training=TRAINING | {"early_stopping": 1})
    world.add(range(14))
    [note] = challenge(world).notes
    assert note.startswith("too few patients to hold any out")
