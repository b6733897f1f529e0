"""A smaller challenger that answers as a model does: made, and held against its teacher."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import Engine
from transformers import PreTrainedModel

from db import metrics, models
from db.engine import reading, writing
from db.errors import LaudosError, NothingToWorkOn
from db.metrics import Metric
from db.models import Model
from tasks.classifiers import the_champion, the_classifier
from tasks.database import open_database
from tasks.ml.judging.comparison import beside, share_kept
from tasks.ml.network.artifact import LaudosJson
from tasks.ml.network.layers import layer_stack
from tasks.ml.network.predictor import Predictor
from tasks.ml.training.distillation import NO_LABEL, Recipe, Saved, distil, student_of, students_training
from tasks.ml.variety.augment import Augmentation, course
from tasks.model_folders import STUDENT, checkpoints_of, folder_of, intact
from tasks.models.models import model_row
from tasks.models.strayed import strayed_from_body
from tasks.progress import progress_bar
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.training.evaluate import probabilities_on
from tasks.training.learning_data import Part, Unlabelled, read_part, read_unlabelled
from tasks.training.loss_curves import Stage
from tasks.training.plan import changed_since, config_sha, training_config
from tasks.training.train import Made, publish_challenger, taught_by
from tasks.training.train_body import as_it_ended, augment_for, body_training, told_of

ACTOR = "distill"
UNLABELLED = (
    5_000  # reports, where there are so many: on a processor alone a student must be ready by morning
)
POPULATION = "beside its teacher"  # of the figures that say what was kept and saved
TIMED_REPORTS = 64


@dataclass(frozen=True)
class Distilled:
    """A student: `layers` of `teacher_layers`, taught by so many reports; `reused`: it was there."""

    model_id: int
    layers: int
    teacher_layers: int
    labelled: int
    unlabelled: int
    reused: bool
    encoded: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """A student beside its teacher on the same holdout, and what it costs as a share."""

    f1_macro: float
    teacher_f1_macro: float
    quality_kept: float  # the one over the other, with its 95 % interval over patients
    quality_kept_low: float | None
    quality_kept_high: float | None
    flops_share: float
    time_share: float


def teacher_of(engine: Engine, settings: Settings, classifier: str | None, model_id: int | None) -> Model:
    """The model that was asked for, else the classifier's champion.

    Raises ConfigurationError where nothing says which classifier, NothingToWorkOn where it has no champion,
    LaudosError where the model is unknown or another classifier's.
    """
    if model_id is not None:
        asked = model_row(engine, model_id)
        if classifier is not None and classifier != asked.classifier:
            raise LaudosError(f"model {model_id} belongs to {asked.classifier!r}, not to {classifier!r}")
        settings.classifier(asked.classifier)
        return asked
    name = the_classifier(settings, classifier)
    with reading(engine) as c:
        return the_champion(c, name).model


@step("distill", run_name="distill model {teacher_id} on snapshot {snapshot_id}")
def distill_model(
    run_id: int, teacher_id: int, snapshot_id: int, layers: int | None = None, unlabelled: int = UNLABELLED
) -> Distilled:
    """Train a student of the model and publish it; the same student on the same reports is reused."""
    settings = Settings.load()
    engine = open_database(settings)
    teacher = model_row(engine, teacher_id)
    recipe = Recipe(layers=layers)
    return make_student(engine, settings, run_id, teacher, snapshot_id, recipe, unlabelled, datetime.now(UTC))


def make_student(
    engine: Engine,
    settings: Settings,
    run_id: int,
    teacher: Model,
    snapshot_id: int,
    recipe: Recipe,
    unlabelled: int,
    now: datetime,
) -> Distilled:
    """`distill_model`, with who asks and when, and how the student is taught."""
    asked = settings.classifier(teacher.classifier)
    shown = _teacher(engine, settings, asked, teacher, snapshot_id, now)
    snapshot, taught, calibration = taught_by(engine, asked, snapshot_id)
    more = read_unlabelled(engine, snapshot_id, asked.sources, unlabelled)
    student = student_of(shown.model, recipe.layers, recipe.inner_share)
    left, of = (len(layer_stack(model)[1]) for model in (student, shown.model))
    recipe = replace(recipe, layers=left)
    config = training_config(settings, asked) | {
        "distilled": asdict(recipe)
        | {"teacher": teacher.id, "unlabelled": len(more.texts), "unlabelled_sha": more.sha}
    }
    sha = config_sha(config)
    told = Distilled(0, left, of, len(taught.ids), len(more.texts), False, 0)
    known = _reusable(engine, settings, snapshot_id, sha, now)
    if known is not None:
        return replace(told, model_id=known.id, reused=True, notes=(f"already distilled: model {known.id}",))
    checkpoints = checkpoints_of(settings, teacher.classifier) / f"{snapshot.sha[:12]}-{sha[:12]}"
    stage = learn(settings, asked, shown, student, taught, more, recipe, checkpoints / STUDENT)
    model_id, encoded = publish_challenger(
        engine, settings, teacher.classifier, snapshot, (student, shown.tokenizer), taught, calibration,
        Made(run_id, ACTOR, "full", config, sha, shown.facts.long_reports, {"training": stage}), now,
    )  # fmt: skip
    notes = told_of("distillation", asked, stage.log)
    return replace(told, model_id=model_id, encoded=encoded, notes=notes)


def _teacher(
    engine: Engine,
    settings: Settings,
    asked: ClassifierSettings,
    teacher: Model,
    snapshot_id: int,
    now: datetime,
) -> Predictor:
    """Loaded, where it can still teach: a student of another configuration's body would pass for ours, and
    one of a body that has read the holdout would be judged on what it knows."""
    changed = changed_since(teacher, training_config(settings, asked))
    if changed:
        raise NothingToWorkOn(
            f"{changed} of {teacher.classifier!r} changed since model {teacher.id} was trained; "
            'run "laudos retrain --how full" first'
        )
    strayed = strayed_from_body(engine, teacher, snapshot_id)
    if strayed is not None:
        raise NothingToWorkOn(
            f'model {teacher.id} cannot teach: {strayed}; run "laudos retrain --how full" first'
        )
    fault = intact(engine, settings, teacher, ACTOR, now)
    if fault is not None:
        raise LaudosError(f"model {teacher.id} cannot teach: {fault}")
    return Predictor.load(folder_of(settings, teacher), teacher.manifest_sha)


def _reusable(engine: Engine, settings: Settings, snapshot_id: int, sha: str, now: datetime) -> Model | None:
    with reading(engine) as c:
        same = models.trained_on(c, snapshot_id, sha)
    return next((known for known in same if intact(engine, settings, known, ACTOR, now) is None), None)


def learn(
    settings: Settings,
    asked: ClassifierSettings,
    shown: Predictor,
    student: PreTrainedModel,
    taught: Part,
    more: Unlabelled,
    recipe: Recipe,
    checkpoints: Path,
    again: LaudosJson | None = None,
) -> Stage:
    """Teach the student in place; what a killed run left in `checkpoints` is taken up.

    `again`: what was recorded of a distillation that is to be made again, as for trained_body.
    """
    texts = taught.texts + more.texts
    labels = np.concatenate([taught.labels_idx, np.full(len(more.texts), NO_LABEL)])
    config = students_training(body_training(asked, len(texts), (again or shown.facts).long_reports))
    if again is not None:
        config = as_it_ended(config, again.training.get("training"))
    read = course(texts, Augmentation.of(augment_for(asked)), settings.seed, config.epochs)
    with progress_bar("teaching the student") as progress:
        log = distil(
            shown.model,
            student,
            shown.tokenizer,
            read.texts,
            labels[read.report],
            recipe=recipe,
            config=replace(config, epochs=read.passes),
            checkpoint_folder=checkpoints,
            seed=settings.seed,
            progress=progress,
        )
    return Stage(log, len(texts))


@step("compare with teacher", run_name="compare model {model_id} with model {teacher_id}", retries=2)
def compare_with_teacher(run_id: int, model_id: int, teacher_id: int) -> Compared:
    """Write what the student kept of its teacher's quality, and what of its cost is left."""
    settings = Settings.load()
    engine = open_database(settings)
    pair = model_row(engine, model_id), model_row(engine, teacher_id)
    return compare(engine, settings, run_id, *pair, datetime.now(UTC))


def compare(
    engine: Engine, settings: Settings, run_id: int, student: Model, teacher: Model, now: datetime
) -> Compared:
    """On the holdout of the student's snapshot; time side by side, on some of its calibration reports."""
    labels = student.config["labels"]
    holdout = read_part(engine, student.snapshot_id, "holdout", labels)
    ours, theirs = (probabilities_on(engine, settings, model, holdout, now) for model in (student, teacher))
    quality = beside(
        ours, theirs, holdout.labels_idx, holdout.patients, len(labels), settings.seed, share_kept
    )
    small, large = (
        Predictor.load(folder_of(settings, model), model.manifest_sha) for model in (student, teacher)
    )
    saved = Saved.by(
        small.model,
        large.model,
        large.tokenizer,
        read_part(engine, student.snapshot_id, "calibration", labels).first(TIMED_REPORTS).texts,
        window_tokens=small.facts.window_tokens,
        stride_tokens=small.facts.stride_tokens,
    )
    n = len(holdout.ids)
    figures = {
        "f1_macro_kept": (quality.figure, quality.low, quality.high, n),
        "f1_macro_teacher": (quality.other_f1_macro, None, None, n),
        "flops_share": (saved.flops_share, None, None, TIMED_REPORTS),
        "time_share": (saved.time_share, None, None, TIMED_REPORTS),
    }
    rows = [Metric("model", POPULATION, "all", name, *figure) for name, figure in figures.items()]
    with writing(engine) as c:
        metrics.put(c, run_id, student.id, rows, now)
    return Compared(
        quality.f1_macro,
        quality.other_f1_macro,
        quality.figure,
        quality.low,
        quality.high,
        saved.flops_share,
        saved.time_share,
    )
