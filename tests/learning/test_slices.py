"""The figures of a model slice by slice: from the rows of the holdout into SQL and the report."""

from __future__ import annotations

from datetime import date

import numpy as np
from sqlalchemy import insert, select, update

from db import slices
from db.engine import reading, writing
from db.slices import Kind
from db.tables import metric, patient_group, report_version
from tasks.ml.judging.fairness import fairness_reasons, gaps_of
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.rules import Rules
from tasks.models.models import model_row
from tasks.pages.model_report import report_of
from tasks.training.finer_figures import holdout_fields
from tasks.training.learning_data import read_part
from tasks.training.training_set import freeze
from tests.learning.retraining import retrain
from tests.learning.world import CLASSIFIER, World


def test_a_holdout_s_reports_are_told_apart_by_what_their_rows_say(both: World) -> None:
    both.add(range(60))
    both.add(range(60, 120), name="outro")
    with writing(both.engine) as c:
        c.execute(update(report_version).where(report_version.c.id == 1).values(report_date=date(2026, 1, 9)))
        who = {"sex": "female", "age_band": "40-49", "race": "parda", "institution": "Unidade Sul"}
        c.execute(insert(patient_group).values(report_version_id=2, **who))
    found = freeze(
        both.engine, both.run("retrain"), CLASSIFIER, both.settings.classifier(CLASSIFIER), both.now
    )
    with reading(both.engine) as c:
        kinds = {split: slices.kinds(c, found, split) for split in ("train", "calibration", "holdout")}
    every = {version: kind for of in kinds.values() for version, kind in of.items()}
    assert len(every) == 120
    assert every[1] == Kind("his", None, date(2026, 1, 9))
    assert every[2] == Kind("his", "Unidade Sul", None, "female", "40-49", "parda")
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


def test_a_model_that_misses_one_sex_is_refused_under_the_fairness_gate_and_one_that_does_not_is_not(
    world: World,
) -> None:
    """From what a source tells of its patients to the reasons of a decision."""
    world.add(range(600))
    with writing(world.engine) as c:
        for version, number in c.execute(select(report_version.c.id, report_version.c.report_id)).all():
            sex = "female" if number % 4 < 2 else "male"
            c.execute(insert(patient_group).values(report_version_id=version, sex=sex, age_band="50-59"))
    asked = world.settings.classifier(CLASSIFIER)
    snapshot_id = freeze(world.engine, world.run("retrain"), CLASSIFIER, asked, world.now)
    holdout = read_part(world.engine, snapshot_id, "holdout", asked.labels)
    fields = {one.name: one for one in holdout_fields(world.engine, snapshot_id, holdout)}
    assert "age" not in fields  # all are of one band
    males = np.array([value == "male" for value in fields["sex"].values])
    truth = holdout.labels_idx
    fair = np.eye(2)[truth]
    missed = np.eye(2)[np.where(males, 0, truth)]
    rules, to_person = Rules(), np.zeros(len(truth), np.bool_)
    held = {}
    for name, answers in (("fair", fair), ("missed", missed)):
        given = Sample.of(answers, truth, holdout.patients, 2)
        gaps = gaps_of(given, [fields["sex"]], 1, to_person, n_boot=300, seed=0)
        assert not any(gap.small for gap in gaps)
        held[name] = all(reason.passed for reason in fairness_reasons(gaps, rules))
    assert held == {"fair": True, "missed": False}
