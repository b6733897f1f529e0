"""A small hospital's history, written row by row: what the views, the roles and the migrations are shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, insert, select, text, update

from db import models
from db.engine import reading, writing
from db.labels import Label, put_labels
from db.tables import (
    candidate,
    metric,
    model,
    prediction,
    report,
    report_version,
    run,
    score_chunk,
    score_job,
    shadow_prediction,
    snapshot,
    source,
)

# what no view and no reader may ever show
SECRET = "canary: Dona Maria, carcinoma"
PATIENT = hashlib.sha256(b"canary patient").hexdigest()
DAY_ONE = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
TONIGHT = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
# quotes, an accent and a digit: keys that a careless JSON path misses
LABELS = {"paaf": ("benigno", "maligno"), "birads": ("4", 'não "visto"')}


def at(hour: float, day: datetime = DAY_ONE) -> datetime:
    return day + timedelta(hours=hour)


@dataclass
class History:
    """Rows as laudos would have written them; moments are arguments."""

    engine: Engine
    versions: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def run(self, kind: str, when: datetime) -> int:
        return self._add(
            run, kind=kind, state="completed", code_revision="x", config_sha="x", started_at=when
        )

    def receive(self, name: str, external_id: str, when: datetime, kind: str = "database") -> int:
        """A new report; returns its version's id."""
        with reading(self.engine) as c:
            known = c.scalar(select(source.c.id).where(source.c.name == name))
        source_id = known or self._add(source, name=name, kind=kind)
        report_id = self._add(
            report, source_id=source_id, external_id=external_id, patient_key=PATIENT, current_version=1,
            created_at=when,
        )  # fmt: skip
        return self._version(report_id, (name, external_id, 1), when)

    def amend(self, name: str, external_id: str, when: datetime) -> int:
        """The next version of a report; returns its id."""
        last = max(version for *who, version in self.versions if who == [name, external_id])
        with writing(self.engine) as c:
            of = select(report_version.c.report_id).where(
                report_version.c.id == self.versions[name, external_id, last]
            )
            changed = update(report).where(report.c.id == of.scalar_subquery())
            c.execute(changed.values(current_version=last + 1))
            report_id = c.execute(of).scalar_one()
        return self._version(report_id, (name, external_id, last + 1), when)

    def change(self, name: str, external_id: str, **values: Any) -> None:
        """Such as deleted_at."""
        with writing(self.engine) as c:
            of = select(source.c.id).where(source.c.name == name).scalar_subquery()
            who = (report.c.source_id == of, report.c.external_id == external_id)
            c.execute(update(report).where(*who).values(values))

    def train(self, classifier: str, when: datetime) -> int:
        """A model that is no champion yet."""
        run_id = self.run("retrain", when)
        number = self._add(
            snapshot, classifier=classifier, sha=f"{run_id:064}", recipe={}, reports=0, run_id=run_id,
            created_at=when,
        )  # fmt: skip
        return self._add(
            model, classifier=classifier, path=f"{classifier}/run{run_id}", manifest_sha="m", encoder_sha="e",
            snapshot_id=number, trained="head", config={"critical": LABELS[classifier][1]}, config_sha="c",
            run_id=run_id, created_at=when,
        )  # fmt: skip

    def crown(
        self, classifier: str, model_id: int, when: datetime, decision: models.Decision = "promoted"
    ) -> None:
        """Promote a model, or go back to one."""
        found = {"rule": "sensitivity for maligno", "passed": True, "found": "0.91", "asked": "0.85"}
        with writing(self.engine) as c:
            before = models.champion_of(c, classifier)
            epoch = models.crown(
                c, classifier, model_id, expected_epoch=before.epoch if before else None, now=when
            )
            models.add_promotion(
                c, classifier=classifier, decision=decision, model_id=model_id,
                previous_model_id=before.model.id if before else None, epoch=epoch, reasons=[found, found],
                plan_sha="p", actor="retrain", run_id=None, now=when,
            )  # fmt: skip

    def answer(
        self, model_id: int, label: str, version_ids: list[int], when: datetime, *, sure: bool = True
    ) -> None:
        """The model's predictions of these versions: 0.9 for the label where it is sure, else 0.6."""
        with reading(self.engine) as c:
            asked = models.get(c, model_id)
        assert asked is not None
        job_id = self._add(
            score_job, classifier=asked.classifier, model_id=model_id, state="done", reports=len(version_ids),
            run_id=self.run("classify", when), created_at=when, ended_at=when,
        )  # fmt: skip
        probability = 0.9 if sure else 0.6
        labels = LABELS[asked.classifier]
        told = {one: probability if one == label else round(1 - probability, 3) for one in labels}
        chunk = {
            "job_id": job_id,
            "seq": 1,
            "first_version_id": min(version_ids),
            "state": "done",
            "fence": 1,
        }
        rest = {"last_version_id": max(version_ids), "reports": len(version_ids), "written": len(version_ids)}
        row = {
            "model_id": model_id, "label": label, "probabilities": told, "tokens_seen": 90,
            "decision": "auto" if sure else "review", "tokens_total": 90, "backend": "test",
            "job_id": job_id, "chunk_seq": 1, "fence": 1, "at": when,
        }  # fmt: skip
        with writing(self.engine) as c:
            c.execute(insert(score_chunk).values(**chunk, **rest))
            c.execute(insert(prediction), [row | {"report_version_id": one} for one in version_ids])

    def score_along(self, model_id: int, champion_id: int, said: dict[int, str], when: datetime) -> None:
        """A challenger of paaf beside a champion: what it would have said of these versions."""
        number = self._add(
            candidate, classifier="paaf", model_id=model_id, champion_id=champion_id, champion_epoch=1,
            state="accepted", reasons=[], plan_sha="p", shadow_reports=len(said),
            run_id=self.run("retrain", when), since=when, until=when, decided_at=when,
            decided_by="dra. teste", because="read",
        )  # fmt: skip
        row = {"candidate_id": number, "decision": "auto", "at": when}
        with writing(self.engine) as c:
            for version_id, label in said.items():
                told = {"label": label, "probabilities": {label: 0.75}, "report_version_id": version_id}
                c.execute(insert(shadow_prediction).values(row | told))

    def say(self, version_id: int, classifier: str, value: str, when: datetime) -> None:
        """Feedback of a person."""
        with writing(self.engine) as c:
            put_labels(c, [Label(version_id, classifier, "feedback", "dra. teste", value)], when)

    def measure(self, model_id: int, name: str, value: float, when: datetime, **part: str) -> None:
        """On the hospital's own labels, all of them; or another population and slice."""
        self._add(
            metric, run_id=self.run("monitor", when), model_id=model_id, subject="model",
            name=name, value=value, low=value - 0.1, high=value + 0.1, n=10, at=when,
            **{"population": "source"} | part,
        )  # fmt: skip

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with reading(self.engine) as c:
            return [tuple(row) for row in c.execute(text(sql))]

    def _version(self, report_id: int, key: tuple[str, str, int], when: datetime) -> int:
        self.versions[key] = self._add(
            report_version, report_id=report_id, version=key[2], raw_sha=f"{len(self.versions):064}",
            text=f"{SECRET} {len(self.versions)}", cleaning_revision=1, repairs={}, report_date=when.date(),
            run_id=self.run("ingest", when), created_at=when,
        )  # fmt: skip
        return self.versions[key]

    def _add(self, table: Any, **values: Any) -> int:
        with writing(self.engine) as c:
            return int(c.execute(insert(table).values(values).returning(table.c.id)).scalar_one())


def two_days(engine: Engine) -> History:
    """Two sources with the same ids, two classifiers, an amended and a deleted report, a rollback, feedback.

    paaf: model 1 answers on day one and is replaced by model 2 tonight, which is rolled back later.
    birads: one model throughout.
    """
    h = History(engine)
    his = [h.receive("his", f"L{number}", at(number)) for number in (1, 2, 3)]
    clinic = [h.receive("clinica", f"L{number}", at(number + 3)) for number in (1, 2)]
    first, birads = h.train("paaf", at(7)), h.train("birads", at(7))
    h.crown("paaf", first, at(8))
    h.crown("birads", birads, at(8))
    h.answer(first, "benigno", [*his[:2], clinic[0]], at(9))
    h.answer(first, "maligno", [his[2], clinic[1]], at(9), sure=False)
    h.answer(birads, "4", his, at(9))
    h.answer(birads, 'não "visto"', clinic, at(9), sure=False)
    h.measure(first, "sensitivity", 0.8, at(10))

    h.run("nightly", TONIGHT)
    amended = h.amend("his", "L1", at(1, TONIGHT))
    h.change("his", "L2", deleted_at=at(1, TONIGHT))
    new = h.receive("clinica", "L9", at(1, TONIGHT))
    h.receive("synthetic:paaf", "S1", at(1, TONIGHT), kind="synthetic")
    second = h.train("paaf", at(2, TONIGHT))
    h.score_along(second, first, {his[0]: "benigno", clinic[0]: "maligno"}, at(2, TONIGHT))
    h.crown("paaf", second, at(2, TONIGHT))
    h.answer(second, "maligno", [amended, his[2], clinic[1], new], at(3, TONIGHT))
    h.answer(birads, 'não "visto"', [amended], at(3, TONIGHT))
    h.say(clinic[0], "birads", "4", at(4, TONIGHT))
    return h
