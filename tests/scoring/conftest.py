"""A small hospital a test, on either database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import Engine

from db import schema
from db.engine import open_engine
from tasks.ml.network import cascade as promises
from tasks.ml.network.predictor import Predictor
from tasks.scoring import cascade, cascade_trial
from tasks.settings.settings import Settings
from tests.scoring.hospital import TABLES, Hospital, text_of
from tests.scoring.retaining import Configured


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small are slower on two threads than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def both(engine: Engine, database_url: str, configure: Callable[..., Settings], now: datetime) -> Hospital:
    """An empty hospital, once on SQLite and once on PostgreSQL."""
    return Hospital(engine, configure(database=database_url, **TABLES), now)


@pytest.fixture
def hospital(sqlite_url: str, configure: Callable[..., Settings], now: datetime) -> Iterator[Hospital]:
    """An empty hospital on SQLite: for what the database has no part in."""
    schema.upgrade(sqlite_url)
    engine = open_engine(sqlite_url)
    yield Hospital(engine, configure(database=sqlite_url, **TABLES), now)
    engine.dispose()


@pytest.fixture
def easily_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of reports proves enough; every backlog is worth a trial, and every speed pays."""
    monkeypatch.setattr(promises, "OTHER_DECISIONS_MAX", 0.5)
    monkeypatch.setattr(promises, "CRITICAL_LOST_MAX", 0.9)
    monkeypatch.setattr(cascade, "WORTH_TRYING", 1)
    monkeypatch.setattr(cascade_trial, "PAYS_FROM", 0.0)


@pytest.fixture
def half_sure(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hospital, int], None]:
    """Lets a model be sure of about half of its reports, however random it is."""

    def of(hospital: Hospital, model_id: int) -> None:
        told = Predictor.load(hospital.folder_of(model_id)).predict([text_of(number) for number in range(30)])
        middle = float(np.median([max(one.probabilities.values()) for one in told]))
        monkeypatch.setattr(promises, "CONFIDENCES", (0.9999, middle))

    return of


@pytest.fixture
def kept(both: Hospital, configure: Callable[..., Settings]) -> Configured:
    """The hospital under other retention rules: `kept(models=0)`."""

    def change(**rules: Any) -> Hospital:
        settings = configure(database=both.settings.database, retention=rules, **TABLES)
        return Hospital(both.engine, settings, both.now)

    return change
