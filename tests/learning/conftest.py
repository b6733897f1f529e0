"""One small hospital a test, on either database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import torch
from sqlalchemy import Engine

from db import schema
from db.engine import open_engine
from tasks.settings.settings import Settings
from tests.learning.world import TABLES, World


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small are slower on two threads than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def both(engine: Engine, database_url: str, configure: Callable[..., Settings], now: datetime) -> World:
    """An empty hospital, once on SQLite and once on PostgreSQL: for what the SQL decides."""
    return World(engine, configure(database=database_url, **TABLES), now)


@pytest.fixture
def world(sqlite_url: str, configure: Callable[..., Settings], now: datetime) -> Iterator[World]:
    """An empty hospital on SQLite: for what the database has no part in."""
    schema.upgrade(sqlite_url)
    engine = open_engine(sqlite_url)
    yield World(engine, configure(database=sqlite_url, **TABLES), now)
    engine.dispose()


@pytest.fixture
def reconfigured(configure: Callable[..., Settings]) -> Callable[..., World]:
    """The same hospital after laudos.toml changed: `reconfigured(world, sensitivity_floor=0.9)`."""

    def change(world: World, **changes: Any) -> World:
        [(name, asked)] = TABLES["classifiers"].items()
        tables = TABLES | {"classifiers": {name: asked | changes}}
        return World(world.engine, configure(database=world.settings.database, **tables), world.now)

    return change
