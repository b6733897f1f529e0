"""`classify` and `monitor` as Prefect runs them while a challenger scores along: the champion's answers come
first, and one that is left to a person gets a form.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import select

from db import models
from db.engine import reading, writing
from db.tables import prediction, shadow_prediction
from deployments.schedules import deployments
from flows.classify import classify
from flows.monitor import monitor
from tasks.database import open_database
from tasks.ml.judging.rules import Verdict
from tasks.night.monitor import Measured
from tasks.promotion import form
from tasks.promotion.candidacy import plan_sha, rules_of
from tasks.promotion.promote import record
from tasks.settings.settings import Settings
from tests.flows.test_approve import runs_of
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital

pytestmark = pytest.mark.usefixtures("prefect_harness")


@pytest.fixture
def town(request: pytest.FixtureRequest, configure: Callable[..., Settings], now: datetime) -> Hospital:
    """A champion, and a challenger that is to score ten reports along."""
    plan = {"shadow_reports": 10, "approval": getattr(request, "param", "automatic")}
    asked = TABLES["classifiers"][CLASSIFIER] | {"promotion": plan}
    settings = configure(**TABLES | {"classifiers": {CLASSIFIER: asked}})
    hospital = Hospital(open_database(settings), settings, now)
    hospital.crown()
    with reading(hospital.engine) as c:
        champion = models.champion_of(c, CLASSIFIER)
    challenger = hospital.challenger(body=1)
    with reading(hospital.engine) as c:
        model = models.get(c, challenger)
    assert model is not None
    plan = settings.classifier(CLASSIFIER)
    verdict, run_id = Verdict(True, (), plan_sha(plan)), hospital.run("retrain")
    record(hospital.engine, model, champion, verdict, run_id, datetime.now(UTC), None, rules_of(plan))
    return hospital


def test_a_challenger_reads_what_the_champion_answered_and_one_that_fails_harms_no_answer(
    town: Hospital,
) -> None:
    town.receive(4)
    [first] = classify(CLASSIFIER)
    assert (first.outcome, first.written, first.failure) == ("scored", 4, None)
    assert first.along is not None
    assert (first.along.model_id, first.along.written, first.along.asked) == (2, 4, 10)
    [quiet] = classify(CLASSIFIER)
    assert quiet.along is not None
    assert (quiet.outcome, quiet.along.written) == ("nothing to score", 0)
    town.folder_of(2).joinpath("config.json").unlink()
    town.receive(3)
    [second] = classify(CLASSIFIER)
    assert (second.outcome, second.written, second.along) == ("scored", 3, None)
    assert second.failure is not None
    assert "the challenger that scores along failed: model 2 of 'achado' cannot be used" in second.failure
    with reading(town.engine) as c:
        answered = c.scalars(select(prediction.c.model_id)).all()
    assert set(answered) == {1}
    assert (len(answered), town.count(shadow_prediction)) == (7, 4)


@pytest.mark.parametrize("town", ["person"], indirect=True)
def test_who_is_left_to_a_person_by_a_damaged_champion_gets_one_form(
    town: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "prefect_server", lambda: "the harness")
    monkeypatch.setattr("flows.monitor.measure_champion", lambda *_: Measured(CLASSIFIER, None, 0, 0))
    [made] = [one for one in deployments(town.settings) if one.name == "by-form"]
    served = made.apply()
    assert isinstance(served, UUID)
    before = runs_of(served)
    monitor()
    assert runs_of(served, before) == []  # it scores along: nobody is to decide yet
    with writing(town.engine) as c:
        models.set_state(c, 1, "tainted")
    monitor()
    monitor()
    [asked] = runs_of(served, before)
    assert asked.parameters == {"model_id": 2}
