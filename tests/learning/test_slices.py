"""The figures of a model slice by slice: from the rows of the holdout into SQL and the report."""

from __future__ import annotations

from datetime import date

import numpy as np
from sqlalchemy import select, update

from db import slices
from db.engine import reading, writing
from db.slices import Kind
from db.tables import metric, report_version
from tasks.evaluate import model_row
from tasks.model_report import report_of
from tasks.training_set import freeze
from tests.learning.retraining import retrain
from tests.learning.world import CLASSIFIER, World


def test_a_holdout_s_reports_are_told_apart_by_what_their_rows_say(both: World) -> None:
    both.add(range(60))
    both.add(range(60, 120), name="outro")
    with writing(both.engine) as c:
        c.execute(update(report_version).where(report_version.c.id == 1).values(report_date=date(2026, 1, 9)))
    found = freeze(
        both.engine, both.run("retrain"), CLASSIFIER, both.settings.classifier(CLASSIFIER), both.now
    )
    with reading(both.engine) as c:
        kinds = {split: slices.kinds(c, found, split) for split in ("train", "calibration", "holdout")}
    every = {version: kind for of in kinds.values() for version, kind in of.items()}
    assert len(every) == 120
    assert every[1] == Kind("his", None, date(2026, 1, 9))
    assert {every[version].source for version in range(61, 121)} == {"outro"}


def test_slices_curve_and_calibrations_stand_in_sql_and_in_the_report(world: World) -> None:
    world.add(range(100))
    world.add(range(100, 180), name="outro")
    model_id = retrain(world).trained.model_id
    with reading(world.engine) as c:
        rows = c.execute(select(metric).where(metric.c.model_id == model_id)).all()
    found = {(row.subject, row.slice, row.name): row for row in rows if row.population == "holdout"}
    of_slices = [found["model", f"institution={name}", "sensitivity"].n for name in ("his", "outro")]
    assert sum(of_slices) == found["model", "all", "sensitivity"].n
    for name in ("his", "outro"):
        assert found["model", f"institution={name}", "small"].value == 1
    assert ("model", "threshold=0.1", "net_benefit_gain") in found
    assert np.isfinite([found[way, "all", "ece_difference"].value for way in ("platt", "isotonic")]).all()
    page = report_of(world.engine, world.settings, model_row(world.engine, model_id), None).markdown
    for told in ("| institution: outro †", "## Other calibrations", "![Decision curve]("):
        assert told in page
