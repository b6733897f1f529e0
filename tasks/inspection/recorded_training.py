"""A training as its model's row and its snapshot recorded it, whatever laudos.toml says today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db import models, synthetic_sets
from db.engine import reading
from db.models import Model
from db.snapshots import Snapshot
from tasks.inspection.verify import Difference
from tasks.ml.network.artifact import read_facts
from tasks.ml.network.encoder import load_encoder
from tasks.ml.network.linear_reader import LinearReader
from tasks.ml.network.predictor import Predictor
from tasks.ml.training.distillation import Recipe, student_of
from tasks.model_folders import STUDENT, fault_of, folder_of
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.training.distill import learn
from tasks.training.learning_data import Part, Unlabelled, read_unlabelled
from tasks.training.loss_curves import Stage
from tasks.training.plan import BEFORE_THERE_WAS_A_CHOICE
from tasks.training.train_body import Network, encoder_spec, trained_body

RECORDED = ("labels", "critical", "encoder", "revision", "training", "review_error", "critical_review_error")


def as_recorded(engine: Engine, settings: Settings, model: Model, snapshot: Snapshot) -> Settings:
    """Today's settings, but for the classifier and the seed: those that the model was trained with.

    Raises KeyError or pydantic's ValidationError where an older laudos recorded them otherwise.
    """
    given: dict[str, Any] = {name: model.config[name] for name in RECORDED}
    given["training"] = {**BEFORE_THERE_WAS_A_CHOICE, **given["training"]}
    given["training_labels"] = snapshot.recipe["origins"]
    if "synthetic_set" in snapshot.recipe:
        with reading(engine) as c:
            written = synthetic_sets.get(c, snapshot.recipe["synthetic_set"])
        if written is None:
            raise KeyError("synthetic_set")
        given["synthetic"] = {"exam": written.exam}
    today = settings.classifiers.get(model.classifier)
    if today is not None:
        given["sources"] = today.sources
    asked = ClassifierSettings.model_validate(given)
    every = {**settings.classifiers, model.classifier: asked}
    return settings.model_copy(update={"seed": model.config["seed"], "classifiers": every})


def network_of(
    engine: Engine, recorded: Settings, asked: ClassifierSettings, model: Model, taught: Part, folder: Path
) -> tuple[Network, LinearReader | None, str, Mapping[str, Stage]]:
    """The body that the model's head stands on, what stands beside it already, and whose it is: trained
    again, or for a head the frozen one; and the stages of its training.

    Raises MlError where an encoder does not load or a training fails.
    """
    if "distilled" in model.config:
        student, stage = _student(engine, recorded, asked, model, taught, folder)
        return student, None, "distilled again", {"training": stage}
    if model.trained == "full":
        body = trained_body(
            recorded, asked, taught, folder / "checkpoints", read_facts(folder_of(recorded, model))
        )
        return body.network, None, "trained again", body.stages
    base = _same_body(engine, recorded, model)
    if base is None and asked.encoder != "scratch":
        spec = encoder_spec(asked, recorded)
        return load_encoder(spec, asked.labels, seed=recorded.seed), None, "the pretrained encoder's", {}
    whose = "its own: no other model has it" if base is None else f"that of model {base.id}"
    base = base or model
    loaded = Predictor.load(folder_of(recorded, base), base.manifest_sha)
    return (loaded.model, loaded.tokenizer), loaded.beside, f"{whose}, as frozen", {}


def lost(engine: Engine, settings: Settings, model: Model) -> Difference | None:
    """What besides its training set taught a student and is not there any more; None where all is."""
    said = model.config.get("distilled")
    if said is None:
        return None
    with reading(engine) as c:
        teacher = models.get(c, said["teacher"])
    fault = "not there" if teacher is None else fault_of(settings, teacher)
    if fault is not None:
        return Difference("teacher", f"model {said['teacher']}", fault)
    more = _unlabelled(engine, settings, model)
    if more.sha != said["unlabelled_sha"]:
        told = f"{len(more.texts):,}, others: reports came or went since"
        return Difference("unlabelled reports", f"{said['unlabelled']:,}", told)
    return None


def _unlabelled(engine: Engine, settings: Settings, model: Model) -> Unlabelled:
    today = settings.classifiers.get(model.classifier)
    sources = None if today is None else today.sources
    return read_unlabelled(engine, model.snapshot_id, sources, model.config["distilled"]["unlabelled"])


def _same_body(engine: Engine, settings: Settings, model: Model) -> Model | None:
    """Another intact model with this one's very encoder: a whole network before a head, the oldest first."""
    with reading(engine) as c:
        every = models.of_classifier(c, model.classifier)
    others = [one for one in every if one.encoder_sha == model.encoder_sha and one.id != model.id]
    ordered = sorted(others, key=lambda one: (one.trained != "full", one.id))
    return next((one for one in ordered if fault_of(settings, one) is None), None)


def _student(
    engine: Engine, recorded: Settings, asked: ClassifierSettings, model: Model, taught: Part, folder: Path
) -> tuple[Network, Stage]:
    said = model.config["distilled"]
    with reading(engine) as c:
        teacher = models.get(c, said["teacher"])
    assert teacher is not None  # `lost` was asked first
    more = _unlabelled(engine, recorded, model)
    shown = Predictor.load(folder_of(recorded, teacher), teacher.manifest_sha)
    whole = {"inner_share": 1.0}  # of students that were taught before there was such a share
    recipe = Recipe(**{field.name: (whole | said)[field.name] for field in fields(Recipe)})
    student = student_of(shown.model, recipe.layers, recipe.inner_share)
    checkpoints = folder / STUDENT
    again = read_facts(folder_of(recorded, model))
    stage = learn(recorded, asked, shown, student, taught, more, recipe, checkpoints, again)
    return (student, shown.tokenizer), stage
