"""Train a challenger: the whole network, or a new head on the champion's body."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from db import audit, metrics, models, snapshots
from db.engine import reading, writing
from db.snapshots import Snapshot
from tasks.database import open_database
from tasks.ml.faultpoints import reach
from tasks.ml.network.artifact import publish
from tasks.ml.network.encoder import check_window, load_frozen
from tasks.ml.network.linear_reader import LinearReader
from tasks.ml.network.predictor import Predictor
from tasks.ml.reading.long_reports import LongReports
from tasks.model_folders import checkpoints_of, folder_of, models_folder
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.training.fitting import facts_of_fit, fit_on_body
from tasks.training.learning_data import Part, read_part
from tasks.training.loss_curves import Stage, curve_rows
from tasks.training.plan import How, Plan, plan
from tasks.training.train_body import Network, encoder_spec, long_reports_of, trained_body


@dataclass(frozen=True)
class Trained:
    """A challenger: `trained` full or head, `reused` where nothing had to be done, `encoded` reports."""

    model_id: int
    trained: models.Trained
    reused: bool
    encoded: int
    notes: tuple[str, ...]


@step("train", run_name="train {classifier} on snapshot {snapshot_id} ({how})")
def train(run_id: int, classifier: str, snapshot_id: int, how: How = "auto") -> Trained:
    """Train what the plan asks for and publish it; the same snapshot and configuration is reused."""
    settings = Settings.load()
    engine = open_database(settings)
    now = datetime.now(UTC)
    planned = plan(engine, settings, classifier, snapshot_id, how, now)
    if planned.reused is not None:
        return Trained(planned.reused.id, planned.reused.trained, True, 0, planned.notes)
    return train_planned(engine, settings, run_id, classifier, snapshot_id, planned, now)


def train_planned(
    engine: Engine,
    settings: Settings,
    run_id: int,
    classifier: str,
    snapshot_id: int,
    planned: Plan,
    now: datetime,
) -> Trained:
    """Body (new, or the champion's), vectors, head, thresholds, folder, row: in this order."""
    asked = settings.classifier(classifier)
    snapshot, taught, calibration = taught_by(engine, asked, snapshot_id)
    notes = planned.notes
    long_reports = long_reports_of(asked)
    stages: Mapping[str, Stage] = {}
    beside: LinearReader | None = None
    if planned.trained == "full":
        checkpoints = checkpoints_of(settings, classifier) / f"{snapshot.sha[:12]}-{planned.config_sha[:12]}"
        body = trained_body(settings, asked, taught, checkpoints)
        network, stages = body.network, body.stages
        notes += body.notes
    elif planned.base is not None:
        base = Predictor.load(folder_of(settings, planned.base), planned.base.manifest_sha)
        network, beside = (base.model, base.tokenizer), base.beside
        long_reports = base.facts.long_reports  # the headings of today would ask for other vectors
    else:
        network, told = load_frozen(encoder_spec(asked, settings), asked.labels, seed=settings.seed)
        check_window(network[0], asked.training.window_tokens)
        notes += told
    made = Made(
        run_id, "retrain", planned.trained, planned.config, planned.config_sha, long_reports, stages, beside
    )
    model_id, encoded = publish_challenger(
        engine, settings, classifier, snapshot, network, taught, calibration, made, now
    )
    return Trained(model_id, planned.trained, False, encoded, notes)


def taught_by(engine: Engine, asked: ClassifierSettings, snapshot_id: int) -> tuple[Snapshot, Part, Part]:
    """The snapshot, and its training and calibration reports. Raises LaudosError where there is none."""
    with reading(engine) as c:
        snapshot = snapshots.existing(c, snapshot_id)
    taught = read_part(engine, snapshot_id, "train", asked.labels).first(asked.training.max_train_reports)
    return snapshot, taught, read_part(engine, snapshot_id, "calibration", asked.labels)


@dataclass(frozen=True)
class Made:
    """By which run and command a challenger was made, and how: what its row and the audit say of it.

    `long_reports`: as its network was trained to read them. `stages`: of that training, where it was for it.
    `beside`: what stands beside the network already; None: what the settings ask for is fitted.
    """

    run_id: int
    actor: str
    trained: models.Trained
    config: Mapping[str, Any]
    config_sha: str
    long_reports: LongReports
    stages: Mapping[str, Stage]
    beside: LinearReader | None = None


def publish_challenger(
    engine: Engine,
    settings: Settings,
    classifier: str,
    snapshot: Snapshot,
    network: Network,
    taught: Part,
    calibration: Part,
    made: Made,
    now: datetime,
) -> tuple[int, int]:
    """Head, thresholds, folder and row of a network; the model's id, and how many reports were encoded."""
    asked = settings.classifier(classifier)
    fitted = fit_on_body(
        engine, settings, asked, network, taught, calibration, made.long_reports, now, made.beside
    )
    published = publish(
        models_folder(settings) / classifier,
        f"run{made.run_id}-{made.trained}",
        *network,
        fitted.head,
        facts_of_fit(settings, classifier, snapshot, network, fitted, made.stages, now),
        fitted.familiarity,
        fitted.beside,
    )
    reach("train.row.due")
    with writing(engine) as c:
        model_id = models.add(
            c,
            classifier=classifier,
            path=f"{classifier}/{published.path.name}",
            manifest_sha=published.manifest_sha,
            encoder_sha=fitted.encoder_sha,
            snapshot_id=snapshot.id,
            trained=made.trained,
            config=made.config,
            config_sha=made.config_sha,
            run_id=made.run_id,
            now=now,
        )
        metrics.put(c, made.run_id, model_id, curve_rows(made.stages), now)
        detail = {"run": made.run_id, "snapshot": snapshot.id, "manifest_sha": published.manifest_sha}
        audit.record(
            c, actor=made.actor, action="trained", subject=f"model {model_id}", detail=detail, now=now
        )
        reach("train.row.written")
    reach("train.row.committed")
    # only now: until the row stands, a run that is killed must find its checkpoint again
    shutil.rmtree(checkpoints_of(settings, classifier), ignore_errors=True)
    return model_id, fitted.encoded
