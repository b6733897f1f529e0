"""What a student answered is audited by the champion; one that answers otherwise is switched off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from db.engine import reading, writing
from db.tables import prediction, report_version
from tasks.ml.network import cascade as promises
from tasks.ml.network.predictor import Predictor
from tasks.night.monitor import look_back
from tasks.night.tonight import tonight
from tasks.scoring import cascade, cascade_audit
from tasks.scoring.cascade_audit import audit_cascade
from tests.scoring.cascading import REPORTS, score, with_cascade, with_student
from tests.scoring.hospital import CLASSIFIER, Hospital

pytestmark = pytest.mark.usefixtures("easily_promised")


def test_an_audit_that_fails_switches_the_cascade_off_with_an_alarm(
    both: Hospital, monkeypatch: pytest.MonkeyPatch, half_sure: Callable[[Hospital, int], None]
) -> None:
    champion_id, student_id = with_student(both, head=0)
    half_sure(both, student_id)
    settings = with_cascade(both)
    score(both, champion_id, settings)
    monkeypatch.setattr(cascade_audit.Settings, "load", lambda: settings)
    with writing(both.engine) as c:
        # what a student never said: the champion must find it out
        theirs = prediction.c.backend == f"torch-fp32/model-{student_id}"
        moment = {"at": cascade_audit.datetime.now(cascade_audit.UTC)}
        c.execute(update(prediction).values(moment))
        run_id = both.run_id(c)
    sound = audit_cascade.fn(run_id, CLASSIFIER).agreements[student_id]
    assert sound.answered > 0
    assert sound.other_decisions == 0
    with reading(both.engine) as c:
        night = look_back(c, settings, moment["at"])
    assert not any("cascade" in one for one in night.alarms)
    assert f"of {REPORTS} audited answers" in tonight(night)

    assert audit_cascade.fn(run_id, CLASSIFIER).agreements == {}, "no answer is counted twice"

    with writing(both.engine) as c:
        c.execute(update(prediction).values(at=cascade_audit.datetime.now(cascade_audit.UTC)))
        c.execute(update(prediction).where(theirs).values(decision="review"))
    monkeypatch.setattr(promises, "OTHER_DECISIONS_MAX", 0.01)
    broken = audit_cascade.fn(run_id, CLASSIFIER).agreements[student_id]
    assert broken.other_decisions == broken.answered
    with reading(both.engine) as c:
        assert any("cascade is switched off" in one for one in look_back(c, settings, moment["at"]).alarms)
        assert cascade.audited(c, champion_id, student_id).breach() is not None
        assert cascade.audited(c, champion_id, student_id + 1).breach() is None, "another begins anew"
    both.receive(5)
    assert score(both, champion_id, settings).by_student == 0


def test_a_report_that_makes_the_champion_fail_is_left_out_of_the_audit(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, half_sure: Callable[[Hospital, int], None]
) -> None:
    champion_id, student_id = with_student(hospital, head=0)
    half_sure(hospital, student_id)
    settings = with_cascade(hospital)
    score(hospital, champion_id, settings)
    monkeypatch.setattr(cascade_audit.Settings, "load", lambda: settings)
    with writing(hospital.engine) as c:
        c.execute(update(prediction).values(at=cascade_audit.datetime.now(cascade_audit.UTC)))
        run_id = hospital.run_id(c)
        theirs = prediction.c.backend.like(f"%/model-{student_id}")
        texts = list(c.scalars(select(report_version.c.text).join(prediction).where(theirs)))
    bad, readable = texts[0], Predictor.vectors

    def failing(predictor: Predictor, some: Any, **more: Any) -> Any:
        if bad in some:
            raise RuntimeError("a kernel said no")
        return readable(predictor, some, **more)

    monkeypatch.setattr(Predictor, "vectors", failing)
    found = audit_cascade.fn(run_id, CLASSIFIER).agreements[student_id]
    assert 0 < found.answered == len(texts) - texts.count(bad)
    assert found.reports == REPORTS - texts.count(bad)
    assert found.other_decisions == 0
