"""A hospital's reports straight in our tables, and tiny real champions: what scoring needs, no training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, func, insert, select, update

from db import backlog, doctor, ledger, models, scoring
from db.engine import reading, writing
from db.ledger import Counts
from db.scoring import Job
from db.tables import prediction, report, report_version, run, snapshot, snapshot_item, source
from tasks.ledger import code_revision
from tasks.ml.network.artifact import LaudosJson, publish
from tasks.ml.network.conformal import Thresholds
from tasks.ml.network.encoder import EncoderSpec, encoder_sha, make_scratch
from tasks.ml.network.familiarity import Familiarity, fit_limit, known_pairs, sketches_of
from tasks.ml.network.features import last_linear
from tasks.ml.network.head import Head
from tasks.model_folders import point_at_champion
from tasks.settings.settings import Settings

CLASSIFIER = "achado"
LABELS = ["benigno", "maligno"]
WINDOW, STRIDE = 24, 4
TABLES: dict[str, Any] = {
    "classifiers": {CLASSIFIER: {"labels": LABELS, "critical": "maligno"}},
    "scoring": {"chunk_reports_min": 4, "chunk_reports_max": 4, "lease": "60s"},
}
WORDS = [
    "paciente",
    "exame",
    "realizado",
    "boa",
    "tecnica",
    "nucleos",
    "regulares",
    "lisos",
    "pleomorfismo",
    "acentuado",
    "grosseira",
]


@dataclass(frozen=True)
class Hospital:
    """A migrated database, settings that point at it, and a fixed moment."""

    engine: Engine
    settings: Settings
    now: datetime

    def run(self, kind: str = "ingest") -> int:
        row = {"kind": kind, "code_revision": code_revision(), "config_sha": self.settings.sha()}
        row |= {"started_at": self.now, "state": "completed", "ended_at": self.now}
        with writing(self.engine) as c:
            return int(c.execute(insert(run).values(row).returning(run.c.id)).scalar_one())

    def receive(
        self,
        reports: int,
        *,
        name: str = "his",
        kind: str = "database",
        text: str | None = None,
        words: Sequence[str] = WORDS,
    ) -> None:
        """New reports of a source, one a patient."""
        run_id = self.run()
        with writing(self.engine) as c:
            known = c.scalar(select(source.c.id).where(source.c.name == name))
            new = insert(source).values(name=name, kind=kind).returning(source.c.id)
            source_id = known or c.execute(new).scalar_one()
            first = c.scalar(select(func.count()).select_from(report))
            for number in range(first, first + reports):
                row = {"source_id": source_id, "external_id": f"L{number}", "patient_key": _sha(f"p{number}")}
                added = insert(report).values(**row, current_version=1, created_at=self.now)
                report_id = c.execute(added.returning(report.c.id)).scalar_one()
                c.execute(self._version(report_id, 1, text or text_of(number, words), run_id))
            ledger.add_batch(c, run_id, source_id, Counts(read=reports, new=reports), self.now)

    def amend(self, external_id: str) -> None:
        """A second version of a report."""
        run_id = self.run()
        with writing(self.engine) as c:
            changed = update(report).where(report.c.external_id == external_id).values(current_version=2)
            report_id, source_id = c.execute(changed.returning(report.c.id, report.c.source_id)).one()
            c.execute(self._version(report_id, 2, text_of(999) + " Adendo.", run_id))
            ledger.add_batch(c, run_id, source_id, Counts(read=1, updated=1), self.now)

    def change(self, external_id: str, **values: Any) -> None:
        with writing(self.engine) as c:
            c.execute(update(report).where(report.c.external_id == external_id).values(values))

    def crown(self, *, body: int = 0, head: int = 0, familiar: bool = False) -> int:
        """Publish a model and promote it."""
        model_id = self.challenger(body=body, head=head, familiar=familiar)
        self._promote(model_id)
        return model_id

    def challenger(self, *, body: int = 0, head: int = 0, familiar: bool = False) -> int:
        """Publish a model. Another `body` is another encoder; another `head` is not.

        `familiar`: it can tell reports in words and pairs of words that are none of this hospital's.
        """
        spec = EncoderSpec(window_tokens=WINDOW, hidden_size=16, layers=1, attention_heads=2, vocabulary=150)
        network = make_scratch([text_of(number) for number in range(40)], LABELS, spec, seed=body)
        rng = np.random.default_rng(head)
        weight = rng.normal(0, 1, last_linear(network[0])[1].weight.shape).astype(np.float32)
        facts = LaudosJson(
            classifier=CLASSIFIER,
            labels=tuple(LABELS),
            critical="maligno",
            window_tokens=WINDOW,
            stride_tokens=STRIDE,
            encoder_sha=encoder_sha(*network, WINDOW, STRIDE),
            snapshot_sha="0" * 64,
            seed=0,
            created_at=self.now,
            thresholds=Thresholds((0.5, 0.5), (100, 100), (0.05, 0.05)),
        )
        name = f"body{body}-head{head}"
        root = self.settings.folder / "models" / CLASSIFIER
        taught = [text_of(number) for number in range(40)]
        pairs = known_pairs(taught, [f"p{number}" for number in range(40)])
        familiarity = Familiarity(pairs, fit_limit(pairs, sketches_of(taught))) if familiar else None
        fitted = Head(weight, np.zeros(2, np.float32), 1.0)
        published = publish(root, name, *network, fitted, facts, familiarity)
        return self._add(f"{CLASSIFIER}/{name}", published.manifest_sha, facts.encoder_sha)

    def calibrate(self, model_id: int) -> None:
        """All reports that are here become the calibration split of the model's training set."""
        with writing(self.engine) as c:
            found = models.get(c, model_id)
            assert found is not None
            versions = c.scalars(select(report_version.c.id).order_by(report_version.c.id)).all()
            item = {"snapshot_id": found.snapshot_id, "origin": "source", "split": "calibration"}
            rows = [item | {"report_version_id": at, "label": LABELS[at % 2]} for at in versions]
            c.execute(insert(snapshot_item), rows)
            mine = snapshot.c.id == found.snapshot_id
            c.execute(update(snapshot).where(mine).values(reports=len(rows)))

    def crown_row(self, number: int = 0) -> int:
        """A champion without a folder: for what never loads it."""
        model_id = self._add(f"{CLASSIFIER}/none{number}", f"{number}" * 64, "e" * 64)
        self._promote(model_id)
        return model_id

    def cut(self, model_id: int, smallest: int = 4, largest: int = 4) -> Job:
        with writing(self.engine) as c:
            job_id = backlog.cut(
                c, CLASSIFIER, model_id, sources=None, chunk_reports_min=smallest,
                chunk_reports_max=largest, run_id=self.run_id(c), now=scoring.lease_clock(c),
            )  # fmt: skip
            assert job_id is not None
            job = scoring.get(c, job_id)
        assert job is not None
        return job

    def run_id(self, c: Any) -> int:
        return int(c.scalar(select(func.max(run.c.id))))

    def count(self, table: Any = prediction, *where: Any) -> int:
        with reading(self.engine) as c:
            return int(c.scalar(select(func.count()).select_from(table).where(*where)) or 0)

    def broken_promises(self) -> set[str]:
        """The names of the doctor's invariants that do not hold."""
        with reading(self.engine) as c:
            return {one.name for one in doctor.INVARIANTS if doctor.violations(c, one.query())}

    def folder_of(self, model_id: int) -> Path:
        with reading(self.engine) as c:
            model = models.get(c, model_id)
        assert model is not None
        return self.settings.folder / "models" / model.path

    def _version(self, report_id: int, version: int, text: str, run_id: int) -> Any:
        return insert(report_version).values(
            report_id=report_id, version=version, raw_sha=_sha(text), text=text, cleaning_revision=1,
            repairs={}, run_id=run_id, created_at=self.now,
        )  # fmt: skip

    def _add(self, path: str, manifest_sha: str, encoder: str) -> int:
        run_id = self.run("retrain")
        with writing(self.engine) as c:
            frozen = {"classifier": CLASSIFIER, "sha": manifest_sha, "recipe": {}, "reports": 0}
            added = insert(snapshot).values(**frozen, run_id=run_id, created_at=self.now)
            snapshot_id = c.execute(added.returning(snapshot.c.id)).scalar_one()
            return models.add(
                c, classifier=CLASSIFIER, path=path, manifest_sha=manifest_sha, encoder_sha=encoder,
                snapshot_id=snapshot_id, trained="full", config={"labels": LABELS}, config_sha="0",
                run_id=run_id, now=self.now,
            )  # fmt: skip

    def _promote(self, model_id: int) -> None:
        with writing(self.engine) as c:
            before = models.champion_of(c, CLASSIFIER)
            epoch = models.crown(
                c, CLASSIFIER, model_id, expected_epoch=before.epoch if before else None, now=self.now
            )
            models.add_promotion(
                c, classifier=CLASSIFIER, decision="promoted", model_id=model_id,
                previous_model_id=before.model.id if before else None, epoch=epoch, reasons=[], plan_sha="0",
                actor="retrain", run_id=self.run_id(c), now=self.now,
            )  # fmt: skip
        point_at_champion(self.engine, self.settings, CLASSIFIER)


def text_of(number: int, words: Sequence[str] = WORDS) -> str:
    rng = np.random.default_rng(number)
    return f"Laudo {number}. {' '.join(rng.choice(words, int(rng.integers(8, 40))))}."


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
