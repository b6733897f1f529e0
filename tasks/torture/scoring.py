"""Processes that score: what the scenarios start, kill, stall and cut off."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

from sqlalchemy import Engine

from db import models, scoring
from db.engine import reading
from tasks.database import open_database
from tasks.ledger import recorded_run
from tasks.ml import faultpoints
from tasks.ml.network.predictor import Predictor
from tasks.ml.quiet import on_one_core
from tasks.model_folders import folder_of
from tasks.scoring import claims, scorer
from tasks.scoring.classify import cut_backlog
from tasks.settings.settings import Settings
from tasks.torture.children import Work
from tasks.torture.patching import replace
from tasks.torture.scratch import CLASSIFIER
from tasks.torture.standin import StandIn

Model = Literal["stand-in", "real"]
STALLED = "stalled"


@dataclass
class Doom:
    """Death by one's own hand (SIGKILL) at a named place, the nth time it is reached."""

    point: str
    nth: int = 1

    def __call__(self, point: str) -> None:
        self.nth -= point == self.point
        if self.nth == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def work(
    settings: Settings, tell: Connection, job_id: int, model: Model = "stand-in", doom: Doom | None = None
) -> None:
    """A worker as `laudos classify` runs it; tells when it begins and after each chunk."""
    if doom is not None:
        faultpoints.arm(doom)
    engine = begin(settings, model)
    with reading(engine) as c:
        job = scoring.existing(c, job_id)
    tell.send("ready")
    claims.work_on(engine, settings, job, lambda done, _: tell.send(done))


def classify(settings: Settings, _tell: Connection) -> None:
    """`laudos classify` but for Prefect: whatever waits, with the model as it is."""
    engine = begin(settings, "real")
    with recorded_run(engine, settings, "classify") as run:
        job_id = cut_backlog.fn(run.id, CLASSIFIER)
        if job_id is None:
            return
        with reading(engine) as c:
            job = scoring.existing(c, job_id)
        claims.work_on(engine, settings, job)


def dying(settings: Settings, tell: Connection, doom: Doom, work: Work, *arguments: Any) -> None:
    """Any work, by a process that dies on the way."""
    faultpoints.arm(doom)
    work(settings, tell, *arguments)


def stall(settings: Settings, tell: Connection, job_id: int) -> None:
    """As `work`, but stops dead with its first chunk computed, until somebody sends SIGCONT."""

    def strike(point: str) -> None:
        if point == "score.chunk.encoded":
            faultpoints.arm(None)
            tell.send(STALLED)
            os.kill(os.getpid(), signal.SIGSTOP)

    faultpoints.arm(strike)
    work(settings, tell, job_id)


def begin(settings: Settings, model: Model) -> Engine:
    """The database, and the model that this process is to score with."""
    on_one_core()
    replace(scorer, "Predictor", lambda _: StandIn if model == "stand-in" else Predictor)
    return open_database(settings)


def cut(engine: Engine, settings: Settings) -> int | None:
    """The job to work on, as `laudos classify` finds it; None where nothing waits."""
    with recorded_run(engine, settings, "classify") as run:
        return cut_backlog.fn(run.id, CLASSIFIER)


def champion(engine: Engine, settings: Settings, model: Model) -> tuple[int, Predictor]:
    """The champion's id, and the model itself."""
    with reading(engine) as c:
        found = models.champion_of(c, CLASSIFIER)
    assert found is not None
    loader = StandIn if model == "stand-in" else Predictor
    return found.model.id, loader.load(folder_of(settings, found.model), found.model.manifest_sha)
