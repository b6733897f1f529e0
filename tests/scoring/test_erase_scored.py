"""What was answered of an erased report stays on record and counts nowhere; what was read off it goes."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, text

from db.engine import reading, writing
from db.tables import evidence, feature, prediction
from tasks.scoring.classify import cut_backlog, score
from tasks.upkeep.doctor import examine
from tasks.upkeep.erase import Erasure, Request, erase
from tests.scoring.hospital import CLASSIFIER, Hospital

EVIDENCE = {"begins": 0, "ends": 5, "score": 1.0, "method": "integrated-1"}


def forget(hospital: Hospital, *names: str) -> Erasure:
    return erase(hospital.settings, Request("his", names), "dpo", "request 17", lambda _line: None)


def scored(hospital: Hospital) -> None:
    job_id = cut_backlog.fn(hospital.run("classify"), CLASSIFIER)
    assert job_id is not None
    score.fn(job_id)


def wrong(hospital: Hospital) -> list[str]:
    return [one.name for one in examine(hospital.engine, hospital.settings) if not one.ok]


@pytest.fixture
def answered(both: Hospital) -> Hospital:
    both.receive(9)
    model_id = both.crown()
    scored(both)
    with writing(both.engine) as c:
        for version in (1, 2):
            c.execute(
                insert(evidence).values(model_id=model_id, report_version_id=version, at=both.now, **EVIDENCE)
            )
    assert wrong(both) == []
    return both


def test_the_answer_stays_as_history_and_everything_read_off_the_text_goes(answered: Hospital) -> None:
    before = answered.count(feature)
    done = forget(answered, "L0")
    assert (done.held.predictions, done.held.vectors) == (1, 1)
    assert answered.count() == 9
    assert answered.count(feature) == before - 1
    assert answered.count(evidence) == 1
    assert wrong(answered) == []
    with reading(answered.engine) as c:
        history = "SELECT label FROM prediction_history WHERE superseded_because = 'report_erased'"
        assert len(c.execute(text(history)).all()) == 1
        assert c.scalar(text("SELECT count(*) FROM current_prediction")) == 8


def test_a_new_champion_reads_all_but_the_erased(answered: Hospital) -> None:
    forget(answered, "L0", "L1")
    answered.crown(head=1)
    scored(answered)
    assert answered.count(prediction, prediction.c.model_id == 2) == 7
    assert wrong(answered) == []


def test_a_report_that_waited_is_not_scored_and_the_job_ends(both: Hospital) -> None:
    both.receive(9)
    both.crown()
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)
    assert job_id is not None
    forget(both, "L3")
    score.fn(job_id)
    assert both.count() == 8
    assert wrong(both) == []
