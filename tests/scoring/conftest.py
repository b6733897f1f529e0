"""A small hospital a test, on either database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
import torch
from sqlalchemy import Engine

from db import schema
from db.engine import open_engine
from tasks.settings import Settings
from tests.scoring.hospital import TABLES, Hospital


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
