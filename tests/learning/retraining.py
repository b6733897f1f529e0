"""The steps of flows/retrain.py without Prefect, and what the tests ask afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from safetensors.numpy import load_file

from db import models
from db.engine import reading
from db.models import Champion, Model, Promotion
from tasks.ml.training.distillation import Recipe
from tasks.model_folders import folder_of
from tasks.promotion.promote import Decided, decide
from tasks.training.distill import Distilled, make_student
from tasks.training.evaluate import Evaluated, evaluate_on_holdout
from tasks.training.plan import How, plan
from tasks.training.train import Trained, train_planned
from tasks.training.training_set import freeze
from tests.learning.world import CLASSIFIER, World

RECIPE = Recipe()


@dataclass(frozen=True)
class Retrained:
    trained: Trained
    evaluated: Evaluated
    decided: Decided


def retrain(world: World, how: How = "auto") -> Retrained:
    trained = challenge(world, how)
    run_id = world.run("retrain")
    evaluated = evaluate_on_holdout(world.engine, world.settings, run_id, trained.model_id, world.now)
    decided = decide(world.engine, world.settings, run_id, trained.model_id, world.now)
    return Retrained(trained, evaluated, decided)


def challenge(world: World, how: How = "auto") -> Trained:
    """Freeze and train, without judging."""
    engine, settings, now = world.engine, world.settings, world.now
    run_id = world.run("retrain")
    snapshot_id = freeze(engine, run_id, CLASSIFIER, settings.classifier(CLASSIFIER), now)
    planned = plan(engine, settings, CLASSIFIER, snapshot_id, how, now)
    if planned.reused is not None:
        return Trained(planned.reused.id, planned.reused.trained, True, 0, planned.notes)
    return train_planned(engine, settings, run_id, CLASSIFIER, snapshot_id, planned, now)


def distilled(world: World, unlabelled: int = 1000, recipe: Recipe = RECIPE) -> Distilled:
    """A student of the champion, without judging."""
    run_id = world.run("distill")
    teacher = champion_of(world).model
    snapshot_id = freeze(world.engine, run_id, CLASSIFIER, world.settings.classifier(CLASSIFIER), world.now)
    return make_student(
        world.engine, world.settings, run_id, teacher, snapshot_id, recipe, unlabelled, world.now
    )


def model_of(world: World, model_id: int) -> Model:
    with reading(world.engine) as c:
        model = models.get(c, model_id)
    assert model is not None
    return model


def champion_of(world: World) -> Champion:
    with reading(world.engine) as c:
        champion = models.champion_of(c, CLASSIFIER)
    assert champion is not None
    return champion


def decisions(world: World) -> list[Promotion]:
    """Oldest first."""
    with reading(world.engine) as c:
        return models.promotions(c, CLASSIFIER)[::-1]


def weights_of(world: World, model_id: int) -> dict[str, bytes]:
    """Name -> the bytes of every tensor in the published folder."""
    folder = folder_of(world.settings, model_of(world, model_id))
    return {name: tensor.tobytes() for name, tensor in load_file(folder / "model.safetensors").items()}


def alter(world: World, model_id: int) -> None:
    """One byte of the published weights."""
    path = folder_of(world.settings, model_of(world, model_id)) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
