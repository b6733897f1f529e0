"""A small hospital whose reports two words tell apart: enough to teach a tiny network in a second."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Engine, insert, select, update

from db.engine import reading, writing
from db.tables import label, report, report_version, run, source
from tasks.settings.settings import Settings

CLASSIFIER = "achado"
LABELS = ["benigno", "maligno"]
TRAINING = {
    "window_tokens": 24,
    "stride_tokens": 4,
    "hidden_size": 32,
    "layers": 1,
    "attention_heads": 2,
    "vocabulary": 200,
    "epochs": 4.0,
    "batch_reports": 16,
}
TABLES: dict[str, Any] = {
    "sources": {
        name: {"url": "sqlite:///hospital.db", "table": "laudos", "id": "id", "text": "texto"}
        for name in ("his", "outro")
    },
    "classifiers": {
        CLASSIFIER: {
            "labels": LABELS,
            "critical": "maligno",
            "sensitivity_floor": 0.5,
            "training": TRAINING,
            "promotion": {"holdout_patients_min": 5},
        }
    },
}

COMMON = ["paciente", "acompanhamento", "sem", "queixas", "exame", "realizado", "com", "boa", "tecnica"]
TELLING = {
    "benigno": ["nucleos", "regulares", "fina", "lisos"],
    "maligno": ["pleomorfismo", "acentuado", "grosseira", "irregulares"],
}


@dataclass(frozen=True)
class World:
    """A migrated database, settings that point at it, and a fixed moment."""

    engine: Engine
    settings: Settings
    now: datetime

    def run(self, kind: str = "ingest") -> int:
        row = {"kind": kind, "code_revision": "test", "config_sha": "test", "started_at": self.now}
        row |= {"state": "completed", "ended_at": self.now}
        with writing(self.engine) as c:
            return int(c.execute(insert(run).values(row).returning(run.c.id)).scalar_one())

    def add(self, patients: Iterable[int], *, labels: Iterable[str] = LABELS, name: str = "his") -> None:
        """One report a patient; patient n bears label n modulo their number."""
        known, run_id, labels = list(patients), self.run(), list(labels)
        with writing(self.engine) as c:
            found = c.scalar(select(source.c.id).where(source.c.name == name))
            new = insert(source).values(name=name, kind="database").returning(source.c.id)
            source_id = found or c.execute(new).scalar_one()
            for number in known:
                value = labels[number % len(labels)]
                version_id = self._report(c, run_id, source_id, number, text_of(number, value))
                self._label(c, version_id, value, "source", name)

    def say(self, patients: Iterable[int], value: str, origin: str = "feedback") -> None:
        """A label on the current version of each patient's report."""
        with writing(self.engine) as c:
            for version_id in c.scalars(_current(patients)).all():
                self._label(c, version_id, value, origin, "dra. teste")

    def forget(self, patients: Iterable[int]) -> None:
        """As if their reports were erased on request."""
        versions = _current(patients)
        with writing(self.engine) as c:
            ids = c.scalars(versions).all()
            c.execute(update(report_version).where(report_version.c.id.in_(ids)).values(text=None))
            keys = [patient_key(number) for number in patients]
            c.execute(update(report).where(report.c.patient_key.in_(keys)).values(erased_at=self.now))

    def count(self, table: Any, *where: Any) -> int:
        with reading(self.engine) as c:
            return len(c.execute(select(table).where(*where)).all())

    def later(self, **time: float) -> datetime:
        return self.now + timedelta(**time)

    def _report(self, c: Any, run_id: int, source_id: int, number: int, text: str) -> int:
        new = {
            "source_id": source_id,
            "external_id": f"L{number}",
            "patient_key": patient_key(number),
            "current_version": 1,
            "created_at": self.now,
        }
        report_id = c.execute(insert(report).values(new).returning(report.c.id)).scalar_one()
        first = {
            "report_id": report_id,
            "version": 1,
            "raw_sha": hashlib.sha256(text.encode()).hexdigest(),
            "text": text,
            "cleaning_revision": 1,
            "repairs": {},
            "run_id": run_id,
            "created_at": self.now,
        }
        added = insert(report_version).values(first).returning(report_version.c.id)
        return int(c.execute(added).scalar_one())

    def _label(self, c: Any, version_id: int, value: str, origin: str, actor: str) -> None:
        row = {
            "report_version_id": version_id,
            "classifier": CLASSIFIER,
            "origin": origin,
            "actor": actor,
            "value": value,
            "at": self.now,
        }
        c.execute(insert(label).values(row))


def patient_key(number: int) -> str:
    return hashlib.sha256(f"patient {number}".encode()).hexdigest()


def text_of(number: int, value: str) -> str:
    """Seven common words and three that tell."""
    rng = np.random.default_rng(number)
    words = [*rng.permutation(COMMON)[:7], *rng.permutation(TELLING.get(value, TELLING["benigno"]))[:3]]
    return f"Laudo. {' '.join(rng.permutation(words))}."


def _current(patients: Iterable[int]) -> Any:
    keys = [patient_key(number) for number in patients]
    joined = report_version.join(report, report.c.id == report_version.c.report_id)
    return select(report_version.c.id).select_from(joined).where(report.c.patient_key.in_(keys))
