"""Train the whole network: first on what single findings are called, then on the training split's reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.network.artifact import LaudosJson
from tasks.ml.network.bfloat16 import device_here, no_bfloat16
from tasks.ml.network.encoder import EncoderSpec, load_encoder, make_scratch
from tasks.ml.reading.conclusions import shipped
from tasks.ml.reading.long_reports import LongReports
from tasks.ml.synthesis.lessons import lessons, statements
from tasks.ml.training.body_training import how_it_ended
from tasks.ml.training.held_out import HeldOut, drawn
from tasks.ml.training.teaching import LESSONS, lessons_training, scratch_rate, teach
from tasks.ml.training.training import BodyTraining, TrainLog, passes_over, train_body
from tasks.ml.variety.augment import Augmentation, Way, course
from tasks.models.encoders import encoder_folder
from tasks.progress import progress_bar
from tasks.settings.sections import Pooling
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.training.learning_data import Part
from tasks.training.loss_curves import Stage

Network = tuple[PreTrainedModel, PreTrainedTokenizerBase]
AFTER_LESSONS: tuple[Way, ...] = ("clauses",)
OF_A_SCRATCH = ("hidden_size", "layers", "attention_heads", "vocabulary")
OF_A_PRETRAINED = ("last_layers", "layer_decay")
ATTENTION_STEPS = 5.0  # learning rates of attention and head, over a pretrained body


@dataclass(frozen=True, eq=False)
class TrainedBody:
    """A network, what each stage of its training did, and notes on it."""

    network: Network
    stages: Mapping[str, Stage]
    notes: tuple[str, ...]


def trained_body(
    settings: Settings,
    asked: ClassifierSettings,
    taught: Part,
    checkpoints: Path,
    again: LaudosJson | None = None,
) -> TrainedBody:
    """The whole network, trained. What a killed run left in `checkpoints` is taken up.

    `again`: what was recorded of a training that is to be made again; it ends where that ended, however long
    it takes, and cuts long reports by the same headings.
    """
    spec = encoder_spec(asked, settings)
    if spec.kind == "scratch":
        network = make_scratch(taught.texts, asked.labels, spec, settings.seed, patients=taught.patients)
    else:
        network = load_encoder(spec, asked.labels, seed=settings.seed)
    stages: dict[str, Stage] = {}
    notes = without_effect(asked)
    long_reports = long_reports_of(asked) if again is None else again.long_reports
    if count := lessons_for(asked):
        config = lessons_training(body_training(asked, count, long_reports))
        config = config if again is None else as_it_ended(config, again.training.get("lessons"))
        log = _lessons(settings, asked, count, network, config, checkpoints / "lessons")
        stages["lessons"] = Stage(log, count)
        notes += told_of("lessons", asked, log)
    config = body_training(asked, len(taught.ids), long_reports)
    if again is not None:
        config = as_it_ended(config, again.training.get("training"))
    elif config.max_seconds is not None and "lessons" in stages:
        left = config.max_seconds - stages["lessons"].log.seconds
        config = replace(config, max_seconds=max(0.0, left))
    stages["training"] = _reports(
        settings, asked, taught, network, config, long_reports, checkpoints / "reports"
    )
    notes += told_of("training", asked, stages["training"].log)
    if asked.training.early_stopping is not None and not stages["training"].held_out:
        notes += ("too few patients to hold any out of the training: nothing told whether it grew better",)
    return TrainedBody(network, stages, notes)


def _lessons(
    settings: Settings,
    asked: ClassifierSettings,
    count: int,
    network: Network,
    config: BodyTraining,
    checkpoints: Path,
) -> TrainLog:
    """Every lesson once; the network is the same however often this was killed."""
    exam = asked.synthetic.exam
    given = list(lessons(exam, count=count, seed=settings.seed))
    with progress_bar("teaching the network what findings are called") as progress:
        return teach(
            *network,
            [lesson.text for lesson in given],
            np.array([lesson.says for lesson in given]),
            len(statements(exam)),
            config=config,
            checkpoint_folder=checkpoints,
            seed=settings.seed,
            progress=progress,
        )


def _reports(
    settings: Settings,
    asked: ClassifierSettings,
    taught: Part,
    network: Network,
    config: BodyTraining,
    long_reports: LongReports,
    checkpoints: Path,
) -> Stage:
    """The reports of the training split, but for those that are held out where they are to end it."""
    aside = np.zeros(len(taught.ids), bool)
    if config.patience is not None:
        aside = drawn(taught.labels_idx, taught.patients)
    held = taught.only(np.flatnonzero(aside).tolist())
    teaching = taught.only(np.flatnonzero(~aside).tolist())
    read = course(teaching.texts, Augmentation.of(augment_for(asked)), settings.seed, config.epochs)
    with progress_bar("training the network") as progress:
        log = train_body(
            *network,
            read.texts,
            teaching.labels_idx[read.report],
            config=replace(config, epochs=read.passes),
            checkpoint_folder=checkpoints,
            seed=settings.seed,
            progress=progress,
            held_out=HeldOut(held.texts, held.labels_idx, long_reports) if held.ids else None,
        )
    return Stage(log, len(teaching.ids), len(held.ids))


def as_it_ended(config: BodyTraining, record: Mapping[str, Any] | None) -> BodyTraining:
    """As `config`, in the precision that was computed in, and without a limit of time: to the step where one
    had ended it, if one had."""
    known = record or {}
    step = known["steps"] if known.get("ended") == "time" else None
    mixed = known.get("precision") == "bfloat16"
    return replace(config, max_seconds=None, ends_at_step=step, mixed_precision=mixed)


def short_of(asked: ClassifierSettings, stages: Mapping[str, Stage]) -> tuple[str, ...]:
    """Where memory was too short for the batches of a training, which gives other weights."""
    wanted = asked.training.batch_tokens
    return tuple(told for stage in stages.values() for told in crowded(wanted, stage.log))


def told_of(what: str, asked: ClassifierSettings, log: TrainLog) -> tuple[str, ...]:
    """Notes on a training that was interrupted, or ended early, or was short of memory or of bfloat16."""
    notes = _resumed(what, log) + crowded(asked.training.batch_tokens, log)
    if asked.training.mixed_precision and log.precision == "float32":
        notes += (f"{what}: computed in float32, because {no_bfloat16(device_here())}",)
    if log.ended == "complete" and log.kept_step == log.steps:
        return notes
    return *notes, f"{what}: {how_it_ended(**log.record)}"


def _resumed(what: str, log: TrainLog) -> tuple[str, ...]:
    if not 0 < log.resumed_from_step < log.steps:
        return ()
    begun = {"lessons": "lessons that were"}.get(what, f"a {what} that was")
    return (f"{begun} interrupted went on at step {log.resumed_from_step} of {log.steps}",)


def crowded(wanted: int, log: TrainLog) -> tuple[str, ...]:
    """A note where memory was too short for as many tokens at once as were wanted."""
    if log.batch_tokens == wanted:
        return ()
    return (f"memory was too short for up to {wanted:,} tokens at once: trained with {log.batch_tokens:,}",)


def lessons_for(asked: ClassifierSettings) -> int:
    """How many: only a classifier that is taught by synthetic reports has an exam to take them from."""
    if "synthetic" not in asked.training_labels:
        return 0
    default = LESSONS if asked.encoder == "scratch" else 0
    return default if asked.training.lessons is None else asked.training.lessons


def without_effect(asked: ClassifierSettings) -> tuple[str, ...]:
    """A note where a setting was changed that does nothing in this training."""
    training, scratch = asked.training, asked.encoder == "scratch"
    idle = [
        name
        for name in (OF_A_PRETRAINED if scratch else OF_A_SCRATCH)
        if getattr(training, name) != type(training).model_fields[name].default
    ]
    kind = "scratch" if scratch else "pretrained"
    notes: tuple[str, ...] = ()
    if idle:
        notes += (f"without effect on a {kind} encoder: {', '.join(idle)}",)
    if training.lessons and not lessons_for(asked):
        notes += ("without effect: lessons, which are written where synthetic labels teach",)
    return notes


def augment_for(asked: ClassifierSettings) -> Sequence[Way]:
    """Which ways. Findings that come and go teach what each is worth, where it is known what a finding is."""
    if asked.training.augment is not None:
        return asked.training.augment
    return AFTER_LESSONS if lessons_for(asked) else ()


def pooling_for(asked: ClassifierSettings) -> Pooling:
    """What the head reads; after lessons each sentence of a report by itself, as a lesson was read."""
    if asked.training.pooling is not None:
        return asked.training.pooling
    return "sentences" if asked.encoder == "scratch" and lessons_for(asked) else "network"


def body_training(
    asked: ClassifierSettings, reports: int, long_reports: LongReports | None = None
) -> BodyTraining:
    """How the settings have the whole network trained on so many; a pretrained one takes smaller steps.

    `long_reports`: where they are read by other headings than those of today.
    """
    training = asked.training
    scratch = asked.encoder == "scratch"
    return BodyTraining(
        window_tokens=training.window_tokens,
        stride_tokens=training.stride_tokens,
        conclusions=(long_reports or long_reports_of(asked)).conclusions,
        epochs=training.epochs or (passes_over(reports) if scratch else 3.0),
        learning_rate=training.learning_rate or (scratch_rate(lessons_for(asked)) if scratch else 3e-5),
        batch_windows=training.batch_reports,
        batch_tokens=training.batch_tokens,
        last_layers=None if scratch else training.last_layers,
        layer_decay=1.0 if scratch else training.layer_decay,
        loss=training.loss,
        patience=training.early_stopping,
        max_seconds=None if training.max_minutes is None else 60 * training.max_minutes,
        mixed_precision=training.mixed_precision,
        head_steps=ATTENTION_STEPS if pooling_for(asked) == "attention" and not scratch else 1.0,
    )


def long_reports_of(asked: ClassifierSettings) -> LongReports:
    """How the settings have reports read that are longer than a window, with the headings of today."""
    return LongReports(
        conclusions=shipped() if asked.training.windows == "conclusion" else None,
        together="max" if pooling_for(asked) == "max" else "mean",
    )


def encoder_spec(asked: ClassifierSettings, settings: Settings) -> EncoderSpec:
    """Which encoder the configuration means: a revision goes with a hub name, and only with one.

    A folder's path is absolute by now; any other name is that of an encoder that was imported.
    """
    training, pooling = asked.training, pooling_for(asked)
    attention = pooling in ("attention", "sentences")
    if asked.encoder != "scratch":
        if asked.revision:
            return EncoderSpec("hub", asked.encoder, asked.revision, attention=attention)
        known = Path(asked.encoder).is_absolute()
        folder = asked.encoder if known else str(encoder_folder(settings, asked.encoder))
        return EncoderSpec("folder", folder, attention=attention)
    return EncoderSpec(
        kind="scratch",
        window_tokens=training.window_tokens,
        hidden_size=training.hidden_size,
        layers=training.layers,
        attention_heads=training.attention_heads,
        vocabulary=training.vocabulary,
        attention=attention,
        sentences=pooling == "sentences",
    )
