"""Whose patient was corrected at the source may have taught what judges it: no such figure is given out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest
from sqlalchemy import select

from db import reports
from db.engine import reading, writing
from db.errors import NothingToWorkOn
from db.tables import report
from tasks.ml.splits import split_of
from tests.learning.retraining import decisions, distilled, retrain
from tests.learning.world import World, patient_key

HOSPITAL = range(100)
TAUGHT = "reports that taught whom it is held against"


def correct(world: World, patients: Iterable[int]) -> None:
    """Their patients are named otherwise at the source, and with it their splits."""
    keys = {
        patient_key(number): hashlib.sha256(f"corrected {number}".encode()).hexdigest() for number in patients
    }
    with reading(world.engine) as c:
        known = c.execute(select(report.c.id, report.c.patient_key)).all()
    with writing(world.engine) as c:
        reports.regroup(c, {row.id: keys[row.patient_key] for row in known if row.patient_key in keys})


def told(world: World) -> list[str]:
    """What the last decision says of reports that taught whom it was held against."""
    return [reason["found"] for reason in decisions(world)[-1].reasons if reason["rule"] == TAUGHT]


def test_a_body_that_was_taught_by_what_judges_now_carries_no_new_head(both: World) -> None:
    both.add(HOSPITAL)
    retrain(both)
    both.add(range(100, 106))
    assert retrain(both).trained.trained == "head"
    assert told(both) == []
    correct(both, HOSPITAL)
    corrected = retrain(both)
    assert corrected.trained.trained == "full"
    assert "model 2 cannot carry a new head" in corrected.trained.notes[0]


def test_a_body_that_was_trained_after_the_correction_carries_heads_again(world: World) -> None:
    world.add(range(200))
    retrain(world)
    correct(world, range(20))
    corrected = retrain(world)
    assert (corrected.trained.trained, corrected.decided.decision) == ("full", "promoted")
    world.add(range(200, 206))
    after = retrain(world)
    assert (after.trained.trained, after.trained.notes) == ("head", ())
    (found,) = told(world)  # the reference is still the first model
    assert "taught model 1 before" in found


def test_reports_that_taught_the_champion_do_not_judge_against_it(both: World) -> None:
    both.add(range(200))
    retrain(both)
    correct(both, range(60))
    retrain(both)
    (found,) = told(both)
    left_out, of = (int(found.split()[place]) for place in (0, 2))
    assert 0 < left_out < of
    assert found.endswith(
        "are left out: their patients taught model 1 before they were corrected at the source"
    )
    (enough,) = [reason for reason in decisions(both)[-1].reasons if reason["rule"] == "enough patients"]
    assert enough["found"] == f"the holdout holds {of - left_out} patients ({of - left_out} reports)"


def test_where_every_report_taught_the_champion_it_is_said_that_it_is_flattered(world: World) -> None:
    world.add(HOSPITAL)
    retrain(world)
    world.forget([one for one in HOSPITAL if split_of(patient_key(one)) == "holdout"])
    correct(world, HOSPITAL)
    retrain(world)
    (found,) = told(world)
    held, of = found.split()[0], found.split()[2]
    assert held == of
    assert "of the holdout flatter it" in found


def test_a_teacher_that_was_taught_by_what_judges_now_teaches_nobody(world: World) -> None:
    world.add(HOSPITAL)
    retrain(world)
    correct(world, HOSPITAL)
    with pytest.raises(NothingToWorkOn, match='run "laudos retrain --how full" first'):
        distilled(world)
