"""A classifier that a person ended is gone from what is current, and from nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from db import scoring
from db.engine import reading, writing
from db.errors import ConfigurationError, NothingToWorkOn
from db.tables import champion, prediction
from tasks.model_folders import point_at_champion, pointer_path
from tasks.models.ending import end_classifier
from tasks.models.models import list_models
from tasks.night.status import status
from tasks.scoring.classify import cut_backlog, score
from tasks.settings.settings import Settings
from tests.scoring.hospital import CLASSIFIER, Hospital

OTHER = {"outro": {"labels": ["a", "b"], "critical": "a"}}


def rows(engine: Engine, sql: str) -> list[tuple[object, ...]]:
    with reading(engine) as c:
        return [tuple(row) for row in c.execute(text(sql))]


@pytest.fixture
def renamed(both: Hospital, configure: Callable[..., Settings]) -> Settings:
    """A classifier that has answered, and laudos.toml as it stands after its name was changed."""
    both.receive(4)
    both.crown()
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)
    assert job_id is not None
    assert score.fn(job_id).written == 4
    point_at_champion(both.engine, both.settings, CLASSIFIER)
    return configure(database=both.settings.database, classifiers=OTHER)


def test_its_answers_leave_the_views_and_stay_on_record(both: Hospital, renamed: Settings) -> None:
    both.receive(3)
    job = both.cut(1)
    assert len(rows(both.engine, "SELECT 1 FROM current_prediction")) == 4
    ended = end_classifier(renamed, CLASSIFIER, "dra. Lima", "is called outro now")
    assert (ended.model_id, ended.jobs) == (1, [job.id])
    assert rows(both.engine, "SELECT 1 FROM current_prediction") == []
    assert rows(both.engine, "SELECT 1 FROM backlog_coverage") == []
    assert both.count(prediction) == 4
    history = "SELECT model_id, decision, answered_until IS NULL FROM champion_history"
    assert rows(both.engine, history) == [(1, "promoted", False)]
    told = "SELECT actor, action, subject FROM audit ORDER BY id DESC LIMIT 1"
    assert rows(both.engine, told) == [("dra. Lima", "ended", f"classifier {CLASSIFIER}")]
    with reading(both.engine) as c:
        assert scoring.get(c, job.id).state == "stopped"  # type: ignore[union-attr]
    assert not pointer_path(renamed, CLASSIFIER).exists()
    assert status(renamed).classifiers_ended == []
    assert [(one.champion, one.decision) for one in list_models(renamed)] == [(False, "ended")]
    assert not both.broken_promises()


def test_one_that_comes_back_goes_on_counting(both: Hospital, renamed: Settings) -> None:
    end_classifier(renamed, CLASSIFIER, None, "by mistake")
    both.crown(head=1)
    history = "SELECT epoch, model_id, answered_until IS NULL FROM champion_history ORDER BY epoch"
    assert rows(both.engine, history) == [(1, 1, False), (3, 2, True)]
    assert not both.broken_promises()


def test_an_ended_classifier_that_has_a_champion_is_a_broken_promise(
    both: Hospital, renamed: Settings
) -> None:
    end_classifier(renamed, CLASSIFIER, None, "is called outro now")
    with writing(both.engine) as c:
        back = {"classifier": CLASSIFIER, "model_id": 1, "epoch": 2, "since": both.now}
        c.execute(champion.insert().values(back))
    assert "champion_is_last_promotion" in both.broken_promises()


def test_what_cannot_be_ended_is_said(both: Hospital, renamed: Settings) -> None:
    with pytest.raises(ConfigurationError, match="take its section out first"):
        end_classifier(both.settings, CLASSIFIER, None, "a slip")
    with pytest.raises(NothingToWorkOn, match=f"no model answers for 'achadp'; did you mean '?{CLASSIFIER}"):
        end_classifier(renamed, "achadp", None, "a slip")
    with pytest.raises(ConfigurationError, match="say why"):
        end_classifier(renamed, CLASSIFIER, None, "  ")
    assert both.count(champion) == 1
