"""`classify` as Prefect runs it while a challenger scores along: the champion's answers come first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from db import models
from db.engine import reading
from db.tables import prediction, shadow_prediction
from flows.classify import classify
from tasks.candidacy import plan_sha, rules_of
from tasks.database import open_database
from tasks.ml.rules import Verdict
from tasks.promote import record
from tasks.settings import Settings
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital

pytestmark = pytest.mark.usefixtures("prefect_harness")


@pytest.fixture
def town(configure: Callable[..., Settings], now: datetime) -> Hospital:
    """A champion, and a challenger that is to score ten reports along."""
    asked = TABLES["classifiers"][CLASSIFIER] | {"promotion": {"shadow_reports": 10}}
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
