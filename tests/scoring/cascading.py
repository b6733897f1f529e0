"""A champion with a student, and a night with both, for the tests of the cascade."""

from __future__ import annotations

import shutil

from sqlalchemy import select, update

from db import models
from db.engine import reading, writing
from db.tables import model, prediction
from tasks.ml.network.predictor import Predictor
from tasks.scoring.claims import work_on
from tasks.scoring.scorer import ScoreSummary
from tasks.settings.settings import Settings
from tests.scoring.hospital import CLASSIFIER, Hospital

REPORTS = 60  # enough of their patients are in the calibration split


def with_cascade(hospital: Hospital) -> Settings:
    scoring = hospital.settings.scoring.model_copy(update={"cascade": True})
    return hospital.settings.model_copy(update={"scoring": scoring})


def with_student(hospital: Hospital, head: int) -> tuple[int, int]:
    """A champion, and a student that is its copy (`head` 0) or answers in another way; their numbers."""
    hospital.receive(REPORTS)
    taught = hospital.crown(head=head) if head else None
    champion_id = hospital.crown()
    with writing(hospital.engine) as c:
        champion = models.get(c, champion_id)
        assert champion is not None
        if taught is None:
            copied = hospital.settings.folder / "models" / CLASSIFIER / "copy"
            shutil.copytree(hospital.folder_of(champion_id), copied)
            known = {name: getattr(champion, name) for name in ("manifest_sha", "encoder_sha", "snapshot_id")}
            known |= {"classifier": CLASSIFIER, "trained": "full", "config": {}, "config_sha": "1"}
            run_id = champion.run_id
            taught = models.add(c, path=f"{CLASSIFIER}/copy", run_id=run_id, now=hospital.now, **known)
        config = champion.config | {"distilled": {}}
        c.execute(update(model).where(model.c.id == taught).values(config=config))
    return champion_id, taught


def score(hospital: Hospital, model_id: int, settings: Settings) -> ScoreSummary:
    return work_on(hospital.engine, settings, hospital.cut(model_id))


def recorded(hospital: Hospital) -> dict[int, str]:
    with reading(hospital.engine) as c:
        rows = c.execute(select(prediction.c.report_version_id, prediction.c.backend))
        return dict(rows.all())


def champion_of(hospital: Hospital, model_id: int) -> tuple[models.Model, Predictor]:
    with reading(hospital.engine) as c:
        champion = models.get(c, model_id)
    assert champion is not None
    return champion, Predictor.load(hospital.folder_of(model_id))
