"""What stands on a network: its head, what answers beside it, who goes to a person, what its folder says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.metadata import version

from sqlalchemy import Engine

from db.snapshots import Snapshot
from tasks.ml.machine import machine_of
from tasks.ml.memory import give_back
from tasks.ml.network.artifact import LaudosJson
from tasks.ml.network.calibration import Pool
from tasks.ml.network.conformal import Thresholds, fit_thresholds
from tasks.ml.network.encoder import encoder_sha
from tasks.ml.network.familiarity import Familiarity, fit_limit, known_pairs
from tasks.ml.network.features import encode, last_linear
from tasks.ml.network.head import Head, fit_head_and_pool, probabilities
from tasks.ml.network.linear_reader import LinearReader, fit_linear_reader
from tasks.ml.reading.long_reports import LongReports
from tasks.ml.reading.occurrences import Read
from tasks.ml.reading.windows import windows_of
from tasks.progress import progress_bar
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.training.learning_data import Part, vectors_of
from tasks.training.loss_curves import Stage, recorded
from tasks.training.train_body import Network, short_of

# whose versions a model's numbers depend on
PACKAGES = ("laudos", "torch", "transformers", "tokenizers", "scikit-learn", "numpy")


@dataclass(frozen=True, eq=False)
class Fitted:
    """What stands on a body: its head, who goes to a person, and which texts are like those that taught it.

    `encoded`: reports whose vector was not stored yet.
    """

    head: Head
    thresholds: Thresholds
    familiarity: Familiarity
    beside: LinearReader | None
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
    beside: LinearReader | None = None,
    *,
    keep: bool = True,
) -> Fitted:
    """The last layer on stored vectors; the calibration split gives C, temperature and every limit.

    `beside`: as in Made. `keep`: whether vectors that had to be computed are stored.
    """
    model, tokenizer = network
    window, stride = asked.training.window_tokens, asked.training.stride_tokens
    if beside is None and asked.has_linear_reader:
        beside = fitted_reader(asked, network, taught, calibration, long_reports)
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
    last = last_linear(model)[1]
    head, pool = fit_head_and_pool(
        known.vectors,
        taught.labels_idx,
        len(asked.labels),
        held.vectors,
        calibration.labels_idx,
        hidden=last.in_features,
        seed=settings.seed,
        bias=last.bias is not None,
    )
    found = probabilities(head, held.vectors, pool)
    thresholds = fit_thresholds(found, calibration.labels_idx, review_errors(asked))
    pairs = known_pairs(taught.texts, taught.patients)
    familiarity = Familiarity(pairs, fit_limit(pairs, held.sketches))
    encoded = known.encoded + held.encoded
    return Fitted(head, thresholds, familiarity, beside, pool, sha, long_reports, encoded)


def fitted_reader(
    asked: ClassifierSettings,
    network: Network,
    taught: Part,
    calibration: Part,
    long_reports: LongReports,
) -> LinearReader:
    """What answers beside the network, from the training split."""
    cut = asked.training.window_tokens, asked.training.stride_tokens, long_reports.conclusions
    known, held = (
        Read(texts, windows_of(network[1], texts, *cut)) for texts in (taught.texts, calibration.texts)
    )
    reader = fit_linear_reader(
        known, taught.patients, taught.labels_idx, held, calibration.labels_idx, len(asked.labels)
    )
    del known, held
    give_back()
    return reader


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
