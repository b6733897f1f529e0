"""Processes whose connection to PostgreSQL breaks, and which then do what a Prefect step does: try again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, TypeVar

from sqlalchemy import make_url

from db import engine
from db.errors import DatabaseFailure
from tasks.database import open_database
from tasks.intake.ingest import ingest_source
from tasks.ledger import recorded_run
from tasks.ml import faultpoints
from tasks.ml.quiet import on_one_core
from tasks.promotion.promote import promote_if_earned
from tasks.scoring.classify import cut_backlog, score
from tasks.settings.settings import Settings
from tasks.torture.learning import patiently
from tasks.torture.proxy import Proxy
from tasks.torture.scratch import CLASSIFIER, SOURCE
from tasks.training.evaluate import evaluate_model
from tasks.training.train import train
from tasks.training.training_set import freeze_training_set

T = TypeVar("T")
Command = Literal["ingest", "retrain", "classify"]
How = Literal["reset", "silence", "before_commit", "after_commit"]
RETRIES = 2  # as the steps have
CLIENT_GIVES_UP_S = 0.5  # a minute or two in production; the server's own patience is IDLE_TRANSACTION_S
SERVER_GIVES_UP_S = 2


@dataclass(frozen=True)
class Break:
    """One broken connection: in which command, where (a place, or a mark of a transaction), and how."""

    command: Command
    how: How
    point: str = ""
    mark: bytes = b""

    def __str__(self) -> str:
        return f"{self.command}, {self.how} at {self.point or self.mark.decode()}"


def broken(settings: Settings, tell: Connection, at: Break, server: Path) -> None:
    """The command through a proxy that breaks once; tells how many connections that cost."""
    on_one_core()
    if engine.IDLE_TRANSACTION_S:  # a control switches it off
        engine.IDLE_TRANSACTION_S = SERVER_GIVES_UP_S
    with Proxy(server) as proxy:
        _arm(proxy, at)
        through = make_url(settings.database).set(host="127.0.0.1", port=proxy.port, query={})
        os.environ["LAUDOS_DATABASE"] = through.render_as_string(hide_password=False)
        try:
            COMMANDS[at.command](Settings.load())
        finally:
            tell.send(proxy.cuts)


def _arm(proxy: Proxy, at: Break) -> None:
    if at.mark:
        proxy.cut_at_commit("before_commit" if at.how == "before_commit" else "after_commit", at.mark)
        return

    def strike(point: str) -> None:
        if point != at.point:
            return
        faultpoints.arm(None)
        if at.how == "silence":
            proxy.silence()
            threading.Timer(CLIENT_GIVES_UP_S, proxy.cut).start()
        else:
            proxy.cut()

    faultpoints.arm(strike)


def again(step: Callable[[], T]) -> T:
    """The step, and where the database was away the step once more, as Prefect does."""
    for _ in range(RETRIES):
        try:
            return step()
        except DatabaseFailure as failure:
            if not failure.retryable:
                raise
    return step()


def ingest(settings: Settings) -> None:
    with recorded_run(open_database(settings), settings, "ingest", exclusive="ingest") as run:
        again(lambda: ingest_source.fn(SOURCE, run.id, False))


def retrain(settings: Settings) -> None:
    with recorded_run(open_database(settings), settings, "retrain", exclusive="model") as run:
        snapshot_id = again(lambda: freeze_training_set.fn(run.id, CLASSIFIER))
        # as in the flow: a training is not repeated by itself
        model_id = train.fn(run.id, CLASSIFIER, snapshot_id).model_id
        again(lambda: evaluate_model.fn(run.id, model_id))
        again(lambda: promote_if_earned.fn(run.id, model_id))


def classify(settings: Settings) -> None:
    with recorded_run(open_database(settings), settings, "classify") as run:
        job_id = again(lambda: cut_backlog.fn(run.id, CLASSIFIER))
        if job_id is not None:
            again(lambda: score.fn(job_id))


COMMANDS: dict[Command, Callable[[Settings], None]] = {
    "ingest": ingest,
    "retrain": retrain,
    "classify": classify,
}


def undisturbed(settings: Settings, _tell: Connection, command: Command) -> None:
    """The command straight to the server: what comes after a night that failed."""
    on_one_core()
    patiently(lambda: COMMANDS[command](settings))
