"""A worker in a process of its own; in a file of its own so that starting one imports no Prefect."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from db import scoring
from db.engine import open_engine, reading
from tasks.ml.network.features import Encoded
from tasks.ml.network.predictor import Predictor
from tasks.scoring import apart
from tasks.scoring.claims import work_on
from tasks.scoring.worker import work
from tasks.settings.settings import Settings
from tasks.stopping import stop_on_signals


def worker(config: str, job_id: int, tell: Connection) -> None:
    """A worker as `laudos classify` runs it, which says when it starts and after each chunk."""
    os.environ["LAUDOS_CONFIG"] = config
    settings = Settings.load()
    engine = open_engine(settings.database)
    with reading(engine) as c:
        job = scoring.get(c, job_id)
    assert job is not None
    tell.send(0)
    work_on(engine, settings, job, lambda done, _: tell.send(done))


KILLS = "derruba o processo"


def killed_by_a_report(config: str, job_id: int, tell: Connection) -> None:
    """The same, but the process is gone once the model is given a text that holds KILLS."""
    let_reports_kill()
    worker(config, job_id, tell)


def let_reports_kill() -> None:
    read = Predictor.vectors

    def vectors(self: Predictor, texts: Sequence[str], **options: Any) -> Encoded:
        if any(KILLS in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, texts, **options)

    Predictor.vectors = vectors  # type: ignore[method-assign]


def slow(config: str, job_id: int, tell: Connection) -> None:
    """The same, but every chunk takes a while: long enough for others to come."""
    read = Predictor.vectors

    def vectors(self: Predictor, texts: Sequence[str], **options: Any) -> Encoded:
        time.sleep(0.1)
        return read(self, texts, **options)

    Predictor.vectors = vectors  # type: ignore[method-assign]
    worker(config, job_id, tell)


def plain(config: str, tell: Connection) -> None:
    """`laudos worker`, slow as above, which tells each time the model is given texts."""
    read = Predictor.vectors

    def vectors(self: Predictor, texts: Sequence[str], **options: Any) -> Encoded:
        tell.send(len(texts))
        time.sleep(0.1)
        return read(self, texts, **options)

    Predictor.vectors = vectors  # type: ignore[method-assign]
    os.environ["LAUDOS_CONFIG"] = config
    stop_on_signals()
    tell.send(asdict(work(Settings.load())))


if __name__ == "__main__":
    # in the place of `python -m tasks.scoring.apart`
    let_reports_kill()
    apart.main(int(sys.argv[1]))
