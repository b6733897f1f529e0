"""Train a challenger: the whole network, or a new head on the champion's body."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from sqlalchemy import Engine

from db import audit, metrics, models, snapshots
from db.engine import reading, writing
from db.errors import LaudosError
from db.snapshots import Snapshot
from tasks.database import open_database
from tasks.exercises import Exercises, exercises_of
from tasks.learning_data import Part, read_part, vectors_of
from tasks.loss_curves import Stage, curve_rows, recorded
from tasks.ml.artifact import LaudosJson, publish
from tasks.ml.calibration import Pool
from tasks.ml.conformal import Thresholds, fit_thresholds
from tasks.ml.encoder import encoder_sha, load_encoder
from tasks.ml.familiarity import Familiarity, fit_limit, known_pairs
from tasks.ml.faultpoints import reach
from tasks.ml.features import encode, last_linear
from tasks.ml.head import Head, fit_head, pool_of, probabilities
from tasks.ml.long_reports import LongReports
from tasks.ml.machine import machine_of
from tasks.ml.predictor import Predictor
from tasks.ml.token_pairs import TokenPairs, fit_token_pairs
from tasks.ml.windows import windows_of
from tasks.model_folders import checkpoints_of, folder_of, models_folder
from tasks.plan import How, Plan, plan
from tasks.progress import progress_bar
from tasks.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.train_body import Network, encoder_spec, long_reports_of, short_of, trained_body

# whose versions a model's numbers depend on
PACKAGES = ("laudos", "torch", "transformers", "tokenizers", "scikit-learn", "numpy")


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
    beside: TokenPairs | None = None
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
        network = load_encoder(encoder_spec(asked, settings), asked.labels, seed=settings.seed)
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
        snapshot = snapshots.get(c, snapshot_id)
    if snapshot is None:
        raise LaudosError(f'there is no snapshot {snapshot_id}; run "laudos retrain" to freeze one')
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
    beside: TokenPairs | None = None


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


@dataclass(frozen=True, eq=False)
class Fitted:
    """What stands on a body: its head, who goes to a person, and which texts are like those that taught it.

    `encoded`: reports whose vector was not stored yet.
    """

    head: Head
    thresholds: Thresholds
    familiarity: Familiarity
    beside: TokenPairs | None
    pool: Pool | None  # of both; None where the network answers alone
    encoder_sha: str
    long_reports: LongReports
    encoded: int


def fit_on_body(
    engine: Engine,
    settings: Settings,
    asked: ClassifierSettings,
    network: Network,
    taught: Part,
    calibration: Part,
    long_reports: LongReports,
    now: datetime,
    beside: TokenPairs | None = None,
    *,
    keep: bool = True,
) -> Fitted:
    """The last layer on stored vectors; the calibration split gives C, temperature and every limit.

    `beside`: as in Made. `keep`: whether vectors that had to be computed are stored.
    """
    model, tokenizer = network
    window, stride = asked.training.window_tokens, asked.training.stride_tokens
    more = exercises_of(settings, asked)
    if beside is None and asked.reads_pairs:
        beside = token_pairs(asked, network, taught, more, calibration, long_reports)
    sha = encoder_sha(model, tokenizer, window, stride, long_reports, beside)
    read = partial(
        encode,
        model,
        tokenizer,
        window_tokens=window,
        stride_tokens=stride,
        batch_tokens=settings.scoring.batch_tokens,
        long_reports=long_reports,
        beside=beside,
    )
    with progress_bar("encoding the training set") as progress:
        known = vectors_of(engine, taught, sha, read, now, progress, keep=keep)
        held = vectors_of(engine, calibration, sha, read, now, progress, keep=keep)
    vectors, labels_idx = known.vectors, taught.labels_idx
    if more.texts:
        vectors = np.concatenate([vectors, read(more.texts).vectors])
        labels_idx = np.r_[labels_idx, more.labels_idx]
    hidden = last_linear(model)[1].in_features
    head = fit_head(
        vectors[:, :hidden],
        labels_idx,
        len(asked.labels),
        held.vectors[:, :hidden],
        calibration.labels_idx,
        seed=settings.seed,
        bias=last_linear(model)[1].bias is not None,
    )
    pool = None if beside is None else pool_of(head, held.vectors, calibration.labels_idx)
    found = probabilities(head, held.vectors, pool)
    thresholds = fit_thresholds(found, calibration.labels_idx, review_errors(asked))
    pairs = known_pairs(taught.texts, taught.patients)
    familiarity = Familiarity(pairs, fit_limit(pairs, held.sketches))
    encoded = known.encoded + held.encoded
    return Fitted(head, thresholds, familiarity, beside, pool, sha, long_reports, encoded)


def token_pairs(
    asked: ClassifierSettings,
    network: Network,
    taught: Part,
    more: Exercises,
    calibration: Part,
    long_reports: LongReports,
) -> TokenPairs:
    """What reads the same tokens beside the network, from the training split and exercises."""
    cut = asked.training.window_tokens, asked.training.stride_tokens, long_reports.conclusions
    windows, held = (
        windows_of(network[1], texts, *cut) for texts in ([*taught.texts, *more.texts], calibration.texts)
    )
    # no patient is behind an exercise: all together they count as one
    patients = [*taught.patients, *([""] * len(more.texts))]
    labels_idx = np.r_[taught.labels_idx, more.labels_idx]
    return fit_token_pairs(windows, patients, labels_idx, held, calibration.labels_idx, len(asked.labels))


def facts_of_fit(
    settings: Settings,
    classifier: str,
    snapshot: Snapshot,
    network: Network,
    fitted: Fitted,
    stages: Mapping[str, Stage],
    now: datetime,
) -> LaudosJson:
    """What its folder says of the model beside the network."""
    asked = settings.classifier(classifier)
    return LaudosJson(
        classifier=classifier,
        labels=tuple(asked.labels),
        critical=asked.critical,
        window_tokens=asked.training.window_tokens,
        stride_tokens=asked.training.stride_tokens,
        encoder_sha=fitted.encoder_sha,
        snapshot_sha=snapshot.sha,
        seed=settings.seed,
        created_at=now,
        thresholds=fitted.thresholds,
        temperature=fitted.head.temperature,
        versions=versions(),
        machine=machine_of(network[0], short_of(asked, stages)),
        long_reports=fitted.long_reports,
        pool=fitted.pool,
        training=recorded(stages),
    )


def versions() -> dict[str, str]:
    """Package -> the version that is installed, of those that a model's numbers depend on."""
    return {package: version(package) for package in PACKAGES}


def review_errors(asked: ClassifierSettings) -> list[float]:
    """Per label, the share of its reports that may get a sure answer that is wrong."""
    return [
        asked.critical_review_error if label == asked.critical else asked.review_error
        for label in asked.labels
    ]
