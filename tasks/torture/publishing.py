"""Processes that publish champions, and processes that load them as `laudos predict` does."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection

import numpy as np
from sqlalchemy import Engine

from db import models
from db.engine import reading, writing
from db.errors import LaudosError
from tasks.database import open_database
from tasks.inspection.predict import load as load_as_predict_does
from tasks.ledger import recorded_run
from tasks.ml.errors import MlError
from tasks.ml.judging.rules import Verdict
from tasks.ml.network.artifact import publish
from tasks.ml.network.head import Head, head_of
from tasks.ml.network.predictor import Predictor
from tasks.ml.quiet import on_one_core
from tasks.model_folders import folder_of, models_folder, point_at_champion
from tasks.promotion.promote import record
from tasks.settings.settings import Settings
from tasks.torture.learning import patiently
from tasks.torture.scratch import CLASSIFIER
from tasks.upkeep.retention import collect

GC, PUBLISHED = "removing", "published"
GC_SHARE = 0.3


def publisher(settings: Settings, tell: Connection, seed: str) -> None:
    """One champion after the other until killed, and between them what the retention rules remove."""
    on_one_core()
    engine, rng = open_database(settings), random.Random(seed)
    while True:
        patiently(lambda: publish_one(engine, settings, rng.getrandbits(32)))
        tell.send(PUBLISHED)
        if rng.random() < GC_SHARE:
            tell.send(GC)
            patiently(lambda: collect(settings, lambda _: None))
            tell.send(PUBLISHED)


def publish_one(engine: Engine, settings: Settings, seed: int) -> None:
    """A new head on the champion's body, published and promoted under the lock of a retraining."""
    with recorded_run(engine, settings, "retrain", exclusive="model") as run:
        now = datetime.now(UTC)
        with reading(engine) as c:
            champion = models.champion_of(c, CLASSIFIER)
        assert champion is not None
        base = Predictor.load(folder_of(settings, champion.model), champion.model.manifest_sha)
        weight = np.random.default_rng(seed).normal(0, 1, head_of(base.model)[0].shape).astype(np.float32)
        head = Head(weight, np.zeros(len(base.labels), np.float32), 1.0)
        facts = replace(base.facts, created_at=now)
        root = models_folder(settings) / CLASSIFIER
        published = publish(
            root, f"run{run.id}-head", base.model, base.tokenizer, head, facts, base.familiarity, base.beside
        )
        old = champion.model
        with writing(engine) as c:
            model_id = models.add(
                c,
                classifier=CLASSIFIER,
                path=f"{CLASSIFIER}/{published.path.name}",
                manifest_sha=published.manifest_sha,
                encoder_sha=old.encoder_sha,
                snapshot_id=old.snapshot_id,
                trained="head",
                config=old.config,
                config_sha=old.config_sha,
                run_id=run.id,
                now=now,
            )
        with reading(engine) as c:
            model = models.existing(c, model_id)
        record(engine, model, champion, Verdict(True, (), "torture"), run.id, now)
        point_at_champion(engine, settings, CLASSIFIER)


def reader(settings: Settings, tell: Connection) -> None:
    """Load the champion until killed; tells of each load what `load` says."""
    on_one_core()
    while True:
        tell.send(load(settings))


def load(settings: Settings) -> str:
    """What is wrong with the champion that `laudos predict` would load; empty where nothing is."""
    try:
        load_as_predict_does(settings, None, CLASSIFIER)
    except (LaudosError, MlError) as fault:
        return str(fault)
    except Exception as error:
        return type(error).__name__
    return ""


def load_once(settings: Settings, tell: Connection) -> None:
    tell.send(load(settings))
