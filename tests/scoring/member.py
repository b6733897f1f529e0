"""A scheduler and workers of Dask as processes of their own, which need not import torch again each.

Workers say what they do, and wait while a file asks them to.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed.cli.dask_scheduler import main as dask_scheduler
from distributed.cli.dask_worker import main as dask_worker

from tasks.ml.network.features import Encoded
from tasks.ml.network.predictor import Predictor
from tasks.scoring import scorer


def schedule(log: Path) -> None:
    """`dask scheduler` on loopback."""
    _tell_into(log)
    dask_scheduler(["--host", "127.0.0.1", "--port", "0", "--no-dashboard"])


def join(address: str, name: str, log: Path, config: Path, hold: Path) -> None:
    """`dask worker`, which ends no chunk while `hold` is there."""
    _tell_into(log)
    os.environ["LAUDOS_CONFIG"] = str(config)
    read, load = Predictor.vectors, scorer.load_predictor

    def vectors(self: Predictor, texts: Sequence[str], **options: Any) -> Encoded:
        print("reads", flush=True)
        time.sleep(0.05)
        while hold.exists():
            time.sleep(0.02)
        return read(self, texts, **options)

    def load_predictor(*asked: Any) -> Predictor:
        print("loads", flush=True)
        return load(*asked)

    Predictor.vectors = vectors  # type: ignore[method-assign]
    scorer.load_predictor = load_predictor
    dask_worker([address, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"])


def _tell_into(log: Path) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
