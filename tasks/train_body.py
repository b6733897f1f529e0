"""Train the whole network: first on what single findings are called, then on the training split's reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.encoders import encoder_folder
from tasks.learning_data import Part
from tasks.ml.conclusions import shipped
from tasks.ml.encoder import EncoderSpec, load_encoder, make_scratch
from tasks.ml.long_reports import LongReports
from tasks.ml.synthesis.lessons import lessons, statements
from tasks.ml.teaching import LESSONS, lessons_training, teach
from tasks.ml.training import BodyTraining, TrainLog, passes_over, train_body
from tasks.ml.variety.augment import Augmentation, Way, course
from tasks.progress import progress_bar
from tasks.settings import ClassifierSettings, Settings

Network = tuple[PreTrainedModel, PreTrainedTokenizerBase]
AFTER_LESSONS: tuple[Way, ...] = ("clauses",)
ATTENTION_STEPS = 5.0  # learning rates of attention and head, over a pretrained body


def trained_body(
    settings: Settings, asked: ClassifierSettings, taught: Part, checkpoints: Path
) -> tuple[Network, tuple[str, ...], tuple[str, ...]]:
    """The network, notes on it, and where memory was too short for its batches, which gives other weights.

    What a killed run left in `checkpoints` is taken up.
    """
    spec = encoder_spec(asked, settings)
    if spec.kind == "scratch":
        network = make_scratch(taught.texts, asked.labels, spec, settings.seed, patients=taught.patients)
    else:
        network = load_encoder(spec, asked.labels, seed=settings.seed)
    notes: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    if count := lessons_for(asked):
        log = _lessons(settings, asked, count, network, checkpoints / "lessons")
        notes += _resumed("lessons that were", log)
        short += crowded(asked.training.batch_reports, log)
    log = _reports(settings, asked, taught, network, checkpoints / "reports")
    notes += _resumed("a training that was", log)
    return network, notes, short + crowded(asked.training.batch_reports, log)


def _lessons(
    settings: Settings, asked: ClassifierSettings, count: int, network: Network, checkpoints: Path
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
            config=lessons_training(body_training(asked, count)),
            checkpoint_folder=checkpoints,
            seed=settings.seed,
            progress=progress,
        )


def _reports(
    settings: Settings, asked: ClassifierSettings, taught: Part, network: Network, checkpoints: Path
) -> TrainLog:
    config = body_training(asked, len(taught.ids))
    read = course(taught.texts, Augmentation.of(augment_for(asked)), settings.seed, config.epochs)
    with progress_bar("training the network") as progress:
        return train_body(
            *network,
            read.texts,
            taught.labels_idx[read.report],
            config=replace(config, epochs=read.passes),
            checkpoint_folder=checkpoints,
            seed=settings.seed,
            progress=progress,
        )


def _resumed(what: str, log: TrainLog) -> tuple[str, ...]:
    if not 0 < log.resumed_from_step < log.steps:
        return ()
    return (f"{what} interrupted went on at step {log.resumed_from_step} of {log.steps}",)


def crowded(wanted: int, log: TrainLog) -> tuple[str, ...]:
    """A note where memory was short of the batches that were wanted."""
    if log.batch_windows == wanted:
        return ()
    return (f"memory ran out with batches of {wanted}: trained in batches of {log.batch_windows}",)


def lessons_for(asked: ClassifierSettings) -> int:
    """How many: only a classifier that is taught by synthetic reports has an exam to take them from."""
    if "synthetic" not in asked.training_labels:
        return 0
    default = LESSONS if asked.encoder == "scratch" else 0
    return default if asked.training.lessons is None else asked.training.lessons


def augment_for(asked: ClassifierSettings) -> Sequence[Way]:
    """Which ways. Findings that come and go teach what each is worth, where it is known what a finding is."""
    if asked.training.augment is not None:
        return asked.training.augment
    return AFTER_LESSONS if lessons_for(asked) else ()


def body_training(asked: ClassifierSettings, reports: int) -> BodyTraining:
    """How the settings have the whole network trained on so many; a pretrained one takes smaller steps."""
    training = asked.training
    scratch = asked.encoder == "scratch"
    return BodyTraining(
        window_tokens=training.window_tokens,
        stride_tokens=training.stride_tokens,
        conclusions=long_reports_of(asked).conclusions,
        epochs=training.epochs or (passes_over(reports) if scratch else 3.0),
        learning_rate=training.learning_rate
        or (3e-5 if not scratch else 5e-4 if lessons_for(asked) else 1e-3),
        batch_windows=training.batch_reports,
        last_layers=None if scratch else training.last_layers,
        head_steps=ATTENTION_STEPS if training.pooling == "attention" and not scratch else 1.0,
    )


def long_reports_of(asked: ClassifierSettings) -> LongReports:
    """How the settings have reports read that are longer than a window, with the headings of today."""
    return LongReports(
        conclusions=shipped() if asked.training.windows == "conclusion" else None,
        together="max" if asked.training.pooling == "max" else "mean",
    )


def encoder_spec(asked: ClassifierSettings, settings: Settings) -> EncoderSpec:
    """Which encoder the configuration means: a revision goes with a hub name, and only with one.

    A folder's path is absolute by now; any other name is that of an encoder that was imported.
    """
    training = asked.training
    attention = training.pooling == "attention"
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
    )
