"""A hospital and laudos beside it: taken in, taught and answered by the real steps, on either database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import Engine, func, select

from db.engine import reading
from db.ledger import Counts
from db.tables import run
from tasks.database import open_database
from tasks.intake.ingest import ingest_from
from tasks.ledger import recorded_run
from tasks.scoring.classify import cut_backlog, score
from tasks.scoring.scorer import ScoreSummary
from tasks.settings.settings import Settings
from tests.learning.retraining import Retrained, retrain
from tests.learning.world import CLASSIFIER, LABELS, TABLES, World, text_of

HOUR = "2026-03-01T{:02}:00:00+00:00"


@dataclass(frozen=True)
class House:
    """One hospital's table and laudos' own database; `now` is the clock of every step."""

    engine: Engine
    settings: Settings
    now: datetime
    hospital: Path

    def receive(self, numbers: Iterable[int], text: str | None = None) -> None:
        """A labelled report a patient; number n bears label n modulo 2."""
        rows = [
            (f"L{n}", text or text_of(n, LABELS[n % 2]), HOUR.format(n % 24), f"P{n}", LABELS[n % 2])
            for n in numbers
        ]
        with closing(sqlite3.connect(self.hospital)) as c, c:
            c.execute(
                "CREATE TABLE IF NOT EXISTS laudos"
                " (id PRIMARY KEY, texto, atualizado_em, paciente, resultado)"
            )
            c.executemany("INSERT INTO laudos VALUES (?, ?, ?, ?, ?)", rows)

    def ingest(self, *, full: bool = False) -> Counts:
        with recorded_run(self.engine, self.settings, "ingest", exclusive="ingest") as begun:
            return ingest_from(self.engine, self.settings, "his", begun.id, full, self.now)

    def retrain(self) -> Retrained:
        return retrain(World(self.engine, self.settings, self.now))

    def classify(self) -> ScoreSummary:
        with recorded_run(self.engine, self.settings, "classify") as begun:
            job_id = cut_backlog.fn(begun.id, CLASSIFIER)
            return ScoreSummary() if job_id is None else score.fn(job_id)

    def count(self, table: Any, *where: Any) -> int:
        with reading(self.engine) as c:
            return int(c.scalar(select(func.count()).select_from(table).where(*where)) or 0)

    def states(self, kind: str) -> list[str]:
        """How the runs of a kind stand, oldest first."""
        with reading(self.engine) as c:
            return list(c.scalars(select(run.c.state).where(run.c.kind == kind).order_by(run.c.id)))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small are slower on two threads than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def house(
    engine: Engine, database_url: str, configure: Callable[..., Settings], now: datetime, tmp_path: Path
) -> House:
    source = {
        "url": f"sqlite:///{tmp_path}/hospital.db",
        "table": "laudos",
        "id": "id",
        "text": "texto",
        "updated_at": "atualizado_em",
        "patient": "paciente",
        "labels": {CLASSIFIER: "resultado"},
        "page_rows": 40,
        "timezone": "UTC",
    }
    settings = configure(
        database=database_url,
        sources={"his": source},
        classifiers=TABLES["classifiers"],
        scoring={"chunk_reports_min": 20, "chunk_reports_max": 20},
    )
    return House(open_database(settings), settings, now, tmp_path / "hospital.db")
