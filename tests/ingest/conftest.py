"""A made-up hospital: one table of reports, on either database, changed by plain SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Engine,
    MetaData,
    Table,
    Text,
    create_engine,
    delete,
    select,
    update,
)
from sqlalchemy import insert as insert_into

from db.engine import reading, writing
from db.ledger import Counts
from db.tables import feature, label, patient_group, quarantine, report, report_version, source
from tasks.intake.ingest import ingest_from
from tasks.settings.settings import Settings
from tests.runs import begin

PAAF = {
    "labels": ["benigno", "maligno"],
    "critical": "maligno",
    "label_values": {"B": "benigno", "M": "maligno"},
}


CANARY = "Xilofonista zarolho"  # in the texts that are to be erased


class Hospital:
    """The source's table: `id`, `texto`, `atualizado_em`, `paciente`, `data_laudo`, `resultado`."""

    def __init__(self, url: str, name: str = "laudos") -> None:
        self.url = url
        self.engine: Engine = create_engine(url)
        self.table = Table(
            name,
            MetaData(),
            Column("id", Text),
            Column("texto", Text),
            Column("atualizado_em", DateTime(timezone=True)),
            Column("paciente", Text),
            Column("data_laudo", Text),
            Column("resultado", Text),
        )
        self.table.create(self.engine)

    def add(self, *rows: dict[str, Any]) -> None:
        with self.engine.begin() as c:
            for row in rows:
                c.execute(insert_into(self.table).values(**row))

    def change(self, external_id: str, **values: Any) -> None:
        with self.engine.begin() as c:
            c.execute(update(self.table).where(self.table.c.id == external_id).values(**values))

    def remove(self, *external_ids: str) -> None:
        with self.engine.begin() as c:
            c.execute(delete(self.table).where(self.table.c.id.in_(external_ids)))


@dataclass
class Desk:
    """laudos beside one hospital: takes in, and tells what lies in its tables."""

    engine: Engine
    settings: Settings

    def ingest(self, now: datetime, source_name: str = "his", *, full: bool = False) -> Counts:
        run_id = begin(self.engine, "ingest", now)
        return ingest_from(self.engine, self.settings, source_name, run_id, full, now)

    def texts(self) -> dict[str, list[str]]:
        """external id -> its versions' texts, first version first."""
        query = (
            select(report.c.external_id, report_version.c.text)
            .join(report_version, report_version.c.report_id == report.c.id)
            .order_by(report.c.external_id, report_version.c.version)
        )
        told: dict[str, list[str]] = {}
        for row in self.rows(query):
            told.setdefault(row.external_id, []).append(row.text)
        return told

    def labels(self) -> dict[str, str]:
        """external id/version -> label."""
        query = (
            select(report.c.external_id, report_version.c.version, label.c.value)
            .join(report_version, report_version.c.report_id == report.c.id)
            .join(label, label.c.report_version_id == report_version.c.id)
        )
        return {f"{row.external_id}/{row.version}": row.value for row in self.rows(query)}

    def quarantined(self, state: str = "waiting") -> list[tuple[str, str]]:
        query = select(quarantine.c.external_id, quarantine.c.reason).where(quarantine.c.state == state)
        return sorted((row.external_id, row.reason) for row in self.rows(query))

    def watermark(self, name: str = "his") -> datetime | None:
        found: datetime | None = self.rows(select(source.c.watermark).where(source.c.name == name))[0][0]
        return found

    def gone(self) -> list[str]:
        query = select(report.c.external_id).where(report.c.deleted_at.is_not(None))
        return sorted(row.external_id for row in self.rows(query))

    def rows(self, query: Any) -> list[Any]:
        with reading(self.engine) as c:
            return list(c.execute(query))


def row(external_id: str, at: datetime, text: str = "Punção de nódulo", **more: Any) -> dict[str, Any]:
    """A row of the hospital's table."""
    return {"id": external_id, "texto": text, "atualizado_em": at, "paciente": f"p{external_id}", **more}


def columns(hospital_url: str, **more: Any) -> dict[str, Any]:
    """How laudos.toml describes the hospital's table."""
    return {
        "url": hospital_url,
        "table": "laudos",
        "id": "id",
        "text": "texto",
        "updated_at": "atualizado_em",
        "patient": "paciente",
        "date": "data_laudo",
        "labels": {"paaf": "resultado"},
        "page_rows": 3,
        "timezone": "UTC",
        **more,
    }


@pytest.fixture
def hospital_url(database_url: str, tmp_path: Path) -> str:
    """A file of its own on SQLite; on PostgreSQL its table stands beside ours, which saves a database."""
    return f"sqlite:///{tmp_path}/hospital.db" if database_url.startswith("sqlite") else database_url


@pytest.fixture
def hospital(hospital_url: str) -> Iterator[Hospital]:
    hospital = Hospital(hospital_url)
    yield hospital
    hospital.engine.dispose()


@pytest.fixture
def desk(engine: Engine, database_url: str, hospital: Hospital, configure: Callable[..., Settings]) -> Desk:
    settings = configure(
        database=database_url, sources={"his": columns(hospital.url)}, classifiers={"paaf": PAAF}
    )
    return Desk(engine, settings)


@pytest.fixture
def full(desk: Desk, hospital: Hospital, now: datetime) -> Desk:
    """Three reports, one of them amended and with a label that is none; a fourth lies in quarantine alone."""
    hospital.add(
        row("1", now, f"{CANARY} um", resultado="M"),
        row("2", now, "Outro laudo", resultado="B"),
        row("3", now, f"{CANARY} três", paciente="p1"),
        row("4", now, "--- 12 ---", paciente="p1"),
    )
    desk.ingest(now)
    hospital.change("1", texto=f"{CANARY} dois", resultado="indet", atualizado_em=now + timedelta(hours=1))
    desk.ingest(now + timedelta(hours=1))
    assert desk.quarantined() == [("1", "unknown_label"), ("4", "no_letters")]
    with writing(desk.engine) as c:
        for version in c.scalars(select(report_version.c.id)).all():
            c.execute(
                insert_into(feature).values(
                    encoder_sha="e" * 64, report_version_id=version, vector=b"1234", sketch=b"12",
                    tokens_seen=1, tokens_total=1, created_at=now,
                )
            )  # fmt: skip
            c.execute(insert_into(patient_group).values(report_version_id=version, sex="female"))
    return desk
