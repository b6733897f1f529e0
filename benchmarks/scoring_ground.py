"""What `benchmarks.scoring` scores: reports of any mix of lengths, and a champion that nobody had to train.

The champion's network is real (a MiniLM out of a package, or one of the demo's size made here); its head is
drawn at random, which costs exactly as much as a fitted one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from sqlalchemy import Engine, bindparam, func, insert, literal, select

from benchmarks.backlogs import CLASSIFIER, LABELS, fill, new_model
from benchmarks.corpora import encoder_folder
from db import models
from db.engine import reading, writing
from db.tables import feature, model, report_version
from tasks.database import open_database, upgrade_database
from tasks.ml.network.artifact import LaudosJson, publish
from tasks.ml.network.conformal import Thresholds
from tasks.ml.network.encoder import EncoderSpec, encoder_sha, load_encoder, make_scratch
from tasks.ml.network.familiarity import Familiarity, fit_limit, known_pairs, sketches_of
from tasks.ml.network.features import last_linear
from tasks.ml.network.head import Head
from tasks.ml.network.predictor import Predictor
from tasks.ml.synthesis.reports import synthesize
from tasks.scoring.answering import read
from tasks.scoring.scorer import load_predictor
from tasks.settings.settings import Settings

WINDOW, STRIDE = 512, 64
VECTORS = 50  # different ones among those that are stored in bulk
TAUGHT = 500  # texts that a vocabulary and the known pairs are made of

Network = Literal["minilm", "demo"]


@dataclass(frozen=True)
class Mix:
    """Lengths of reports: lognormal, by the median and the spread of its logarithm."""

    words: int
    spread: float


# the shape of the TCGA and NUBes texts: a few lines to several pages
MIXES = {"short": Mix(40, 0.4), "natural": Mix(150, 0.7), "long": Mix(350, 0.5)}


def texts(count: int, mix: Mix, seed: int) -> list[str]:
    """Reports of sentences out of synthetic cytology reports."""
    sentences = _sentences()
    rng = np.random.default_rng(seed)
    lengths = np.maximum(5, np.exp(rng.normal(np.log(mix.words), mix.spread, count))).astype(int)
    made = []
    for words in lengths:
        told: list[str] = []
        while len(told) < words:
            told += sentences[int(rng.integers(len(sentences)))]
        made.append(" ".join(told[:words]))
    return made


@cache
def _sentences() -> list[list[str]]:
    made = synthesize("paaf", mode="findings", reports_per_row=1, seed=0)
    return [line.split() for one in made for line in one.text.splitlines() if line.split()]


@dataclass(frozen=True)
class House:
    """A folder with laudos.toml, the folder of models, and a database with its tables."""

    folder: Path
    data: Path
    database: str

    def settings(self) -> Settings:
        """From now on the ones in force in this process."""
        path = self.folder / "laudos.toml"
        path.write_text(
            f"database = {json.dumps(self.database)}\nfolder = {json.dumps(str(self.data))}\n"
            f"[classifiers.{CLASSIFIER}]\nlabels = {json.dumps(LABELS)}\n"
            f"critical = {json.dumps(LABELS[1])}\n"
            '[scoring]\nbackend = "torch-fp32"\n',  # flow and bare engine are to compute the same
            encoding="utf-8",
        )
        os.environ["LAUDOS_CONFIG"] = str(path)
        return Settings.load()

    def copy(self, folder: Path) -> House:
        """The same models, and an SQLite file of its own."""
        open_database(self.settings()).dispose()  # the last one to leave puts its log into the file
        shutil.copyfile(self.database.removeprefix("sqlite:///"), folder / "laudos.db")
        return House(folder, self.data, f"sqlite:///{folder}/laudos.db")


def build(folder: Path, database: str, network: Network) -> House:
    """Everything but reports. Raises benchmarks.corpora.Missing without the package that holds a MiniLM."""
    house = House(folder, folder / "data", database)
    settings = house.settings()
    upgrade_database(settings)
    _crown(settings, network)
    return house


def receive(engine: Engine, made: Sequence[str]) -> None:
    """One new report of a new patient for each text, none of which has been scored."""
    fill(engine, len(made))
    with writing(engine) as c:
        ids = c.scalars(select(report_version.c.id).order_by(report_version.c.id)).all()[-len(made) :]
        shas = [hashlib.sha256(text.encode()).hexdigest() for text in made]
        version = report_version.c
        rows = [{"at": at, "told": text, "sha": sha} for at, text, sha in zip(ids, made, shas, strict=True)]
        changed = report_version.update().where(version.id == bindparam("at"))
        c.execute(changed.values(text=bindparam("told"), raw_sha=bindparam("sha")), rows)


def champion(settings: Settings) -> Predictor:
    """The champion in memory."""
    engine = open_database(settings)
    with reading(engine) as c:
        found = models.champion_of(c, CLASSIFIER)
    assert found is not None
    return load_predictor(engine, settings, CLASSIFIER, found.model)


def store_vectors(engine: Engine, predictor: Predictor, share: float) -> None:
    """As if a share of all reports had been read before: real vectors, of a few texts over and over."""
    some = read(predictor, dict(enumerate(texts(VECTORS, MIXES["natural"], seed=2))), 2048).fresh.values()
    with writing(engine) as c:
        last = int((c.scalar(select(func.max(report_version.c.id))) or 0) * share)
        for number, one in enumerate(some):
            values = {
                "encoder_sha": predictor.encoder_sha, "vector": one.vector, "tokens_seen": one.tokens_seen,
                "tokens_total": one.tokens_total, "sketch": one.sketch, "created_at": datetime.now(UTC),
            }  # fmt: skip
            rows = select(
                report_version.c.id, *(literal(value, feature.c[name].type) for name, value in values.items())
            ).where(report_version.c.id % VECTORS == number, report_version.c.id <= last)
            c.execute(insert(feature).from_select(["report_version_id", *values], rows))


def _crown(settings: Settings, network: Network) -> None:
    """Publish a folder and make it the champion."""
    taught = texts(TAUGHT, MIXES["natural"], seed=1)
    patients = [str(number) for number in range(TAUGHT)]
    body = (
        load_encoder(EncoderSpec("folder", str(encoder_folder())), LABELS)
        if network == "minilm"
        else make_scratch(taught, LABELS, EncoderSpec(), seed=0)
    )
    shape = last_linear(body[0])[1].weight.shape
    weight = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    head = Head(weight, np.zeros(len(LABELS), np.float32), 1.0)
    pairs = known_pairs(taught, patients)
    familiarity = Familiarity(pairs, fit_limit(pairs, sketches_of(taught)))
    facts = LaudosJson(
        classifier=CLASSIFIER, labels=LABELS, critical=LABELS[1], window_tokens=WINDOW, stride_tokens=STRIDE,
        encoder_sha=encoder_sha(*body, WINDOW, STRIDE), snapshot_sha="0" * 64, seed=0,
        created_at=datetime.now(UTC), thresholds=Thresholds((0.5, 0.5), (100, 100), (0.05, 0.05)),
    )  # fmt: skip
    made = publish(settings.folder / "models" / CLASSIFIER, network, *body, head, facts, familiarity)
    engine = open_database(settings)
    model_id = new_model(engine, facts.encoder_sha)
    with writing(engine) as c:
        c.execute(
            model.update()
            .where(model.c.id == model_id)
            .values(path=f"{CLASSIFIER}/{network}", manifest_sha=made.manifest_sha)
        )
