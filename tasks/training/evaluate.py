"""Judge a model on the holdout of its own snapshot, beside the cheap answers, and on its behaviour suite."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Engine

from db import metrics
from db.engine import reading, writing
from db.metrics import Metric
from db.models import Model
from tasks.database import open_database
from tasks.ml.arrays import Bools, Floats, Ints
from tasks.ml.judging.baselines import baselines
from tasks.ml.judging.evaluation import evaluate
from tasks.ml.judging.recalibration import Calibration
from tasks.ml.memory import give_back
from tasks.ml.network.artifact import read_facts
from tasks.ml.network.predictor import Predictor
from tasks.ml.synthesis.exams import generator
from tasks.model_folders import baselines_path, folder_of, write_atomically
from tasks.models.figures import metrics_of
from tasks.models.models import model_row
from tasks.progress import progress_bar
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.training import behaviour
from tasks.training.finer_figures import finer_figures, holdout_fields
from tasks.training.learning_data import Part, read_part, vectors_of

Probabilities = Floats


@dataclass(frozen=True)
class Evaluated:
    """How many figures were written (0: they were there already), and on how many holdout reports."""

    model_id: int
    figures: int
    holdout_reports: int
    holdout_patients: int


@step("evaluate", run_name="evaluate model {model_id}", retries=2)
def evaluate_model(run_id: int, model_id: int) -> Evaluated:
    """Write the figures of the model and of every baseline; a model is measured once."""
    settings = Settings.load()
    return evaluate_on_holdout(open_database(settings), settings, run_id, model_id, datetime.now(UTC))


def evaluate_on_holdout(
    engine: Engine, settings: Settings, run_id: int, model_id: int, now: datetime
) -> Evaluated:
    model = model_row(engine, model_id)
    holdout = read_part(engine, model.snapshot_id, "holdout", model.config["labels"])
    suite = behaviour.suite_of(settings.classifier(model.classifier))
    with reading(engine) as c:
        measured = bool(metrics.of_model(c, model_id))
        tried = suite is None or bool(metrics.of_model(c, model_id, behaviour.POPULATION))
    with progress_bar("measuring the model and its baselines"):
        rows = [] if measured else _figures(engine, settings, model, holdout, now)
        if suite is not None and not tried:
            rows += behaviour.figures_of(behaviour.run_of(settings, model, suite))
    with writing(engine) as c:
        written = metrics.put(c, run_id, model_id, rows, now)
    return Evaluated(model_id, written, len(holdout.ids), len(set(holdout.patients)))


def probabilities_on(
    engine: Engine, settings: Settings, model: Model, part: Part, now: datetime
) -> Probabilities:
    """(reports, labels) by the model's published folder; encodes only what no vector is stored for.

    Raises BrokenArtifact where the folder is not what was published.
    """
    return answers_on(engine, settings, model, part, now)[0]


def answers_on(
    engine: Engine, settings: Settings, model: Model, part: Part, now: datetime
) -> tuple[Probabilities, Bools]:
    """`probabilities_on`, and (reports,) which reports are unlike those that taught the model."""
    predictor = Predictor.load(folder_of(settings, model), model.manifest_sha)
    stored = vectors_of(engine, part, model.encoder_sha, predictor.vectors, now)
    return predictor.probabilities(stored.vectors), predictor.unfamiliar(stored.sketches)


def baselines_on(engine: Engine, settings: Settings, model: Model, holdout: Part) -> dict[str, Probabilities]:
    """(reports, labels) of every baseline, by name: fitted once a model, then kept beside its report.

    The file holds probabilities only. Fitting TF-IDF takes longer than refitting a head.
    """
    kept = baselines_path(settings, model)
    if kept.exists():
        with np.load(kept, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    asked = settings.classifier(model.classifier)
    labels = model.config["labels"]
    taught = read_part(engine, model.snapshot_id, "train", labels)
    found = baselines(
        taught.texts,
        taught.labels_idx,
        holdout.texts,
        labels,
        asked.keywords,
        measurements=_measurements(asked),
        train_patients=taught.patients,
        holdout_patients=holdout.patients,
        seed=settings.seed,
    )
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **found)
    write_atomically(kept, content.getvalue())
    give_back()
    return found


def _figures(engine: Engine, settings: Settings, model: Model, holdout: Part, now: datetime) -> list[Metric]:
    """Of the model and each baseline on the whole holdout; of the model also on parts of it."""
    ours, unfamiliar = answers_on(engine, settings, model, holdout, now)
    subjects = {"model": ours} | baselines_on(engine, settings, model, holdout)
    rows = [
        row
        for subject, scored in subjects.items()
        for row in _judged(settings, model, subject, "holdout", scored, holdout, np.arange(len(holdout.ids)))
    ]
    origins = sorted(set(holdout.origins))
    for origin in origins if len(origins) > 1 else ():
        chosen = np.flatnonzero(np.array(holdout.origins) == origin)
        rows += _judged(settings, model, "model", f"holdout_{origin}", ours, holdout, chosen)
    held = read_part(engine, model.snapshot_id, "calibration", model.config["labels"])
    fitted_on = Calibration(probabilities_on(engine, settings, model, held, now), held.labels_idx)
    facts = read_facts(folder_of(settings, model))
    fields = holdout_fields(engine, model.snapshot_id, holdout)
    return rows + finer_figures(model, facts, fields, holdout, ours, unfamiliar, fitted_on, settings.seed)


def _judged(
    settings: Settings,
    model: Model,
    subject: str,
    population: str,
    scored: Probabilities,
    holdout: Part,
    chosen: Ints,
) -> list[Metric]:
    figures = evaluate(
        scored[chosen],
        holdout.labels_idx[chosen],
        [holdout.patients[index] for index in chosen],
        model.config["labels"],
        model.config["critical"],
        seed=settings.seed,
    )
    return metrics_of(subject, population, figures)


def _measurements(asked: ClassifierSettings) -> Mapping[str, tuple[float, ...]] | None:
    """Row key -> what was measured, where reports are written from a table of measurements."""
    if "synthetic" not in asked.training_labels:
        return None
    return {row.key: row.measurements for row in generator(asked.synthetic.exam).rows()}
