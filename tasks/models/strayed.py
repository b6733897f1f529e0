"""Reports that taught a model and would judge it now: their patient was corrected at the source since.

A patient's split is a function of the patient's key, so that who taught a model never judges one. But keys
are corrected, and a source may name its patients only after the first nights: a new head would then stand on
a body that has read what is held out today, and so does whoever it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from db import models, snapshots
from db.engine import reading
from db.models import Model


def strayed_from_body(engine: Engine, model: Model, snapshot_id: int) -> str | None:
    """Why nothing that stands on the model's body can be judged by this snapshot; None where it can."""
    with reading(engine) as c:
        by = _taught_its_body(models.of_classifier(c, model.classifier), model)
        strayed = snapshots.strayed(c, snapshot_id, ("calibration", "holdout"), by, ("train",))
    if not strayed:
        return None
    return (
        f"{len(strayed):,} reports that are held out now are of patients who taught it, corrected at the "
        "source since"
    )


def strayed_from(engine: Engine, model: Model, snapshot_id: int) -> set[int]:
    """Report versions of the snapshot's holdout whose patients taught or calibrated the model."""
    with reading(engine) as c:
        by = _taught_its_body(models.of_classifier(c, model.classifier), model) | {model.snapshot_id}
        return snapshots.strayed(c, snapshot_id, ("holdout",), by, ("train", "calibration"))


def _taught_its_body(every: Sequence[Model], model: Model) -> set[int]:
    """Snapshots: of who made the body, which is the oldest that has it; of a student, its teacher's too."""
    maker = min((one for one in every if one.encoder_sha == model.encoder_sha), key=lambda one: one.id)
    if maker.trained == "head" and not maker.config.get("training", {}).get("linear_reader"):
        return set()  # a frozen encoder, which no report taught
    teacher = next((one for one in every if one.id == maker.config.get("distilled", {}).get("teacher")), None)
    theirs = set() if teacher is None else _taught_its_body(every, teacher) | {teacher.snapshot_id}
    return {maker.snapshot_id} | theirs
