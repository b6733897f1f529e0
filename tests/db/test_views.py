"""The views say what is true of a small, whole history, on both databases, and show no text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, create_engine, inspect, select, text

from db import backlog, predictions, quarantine, review_queue, schema, status, views
from db.engine import open_engine, reading, writing
from db.errors import ConfigurationError
from db.tables import report_version, source
from tests.db.history import DAY_ONE, PATIENT, SECRET, TONIGHT, History, at, two_days

# names and columns are promised to people's dashboards: add at the end of a line, change nothing
REPORT = "source external_id version report_date"
ANSWER = (
    "label probability critical_probability decision predicted_at model_id taken_in_at tokens_seen "
    "tokens_total report_id report_version_id"
)
CONTRACT = {
    "current_prediction": f"classifier {REPORT} {ANSWER} review_because content_in_quarantine",
    "prediction_history": f"classifier {REPORT} {ANSWER} superseded superseded_because review_because",
    "review_queue": f"classifier {REPORT} {ANSWER} review_because content_in_quarantine",
    "changed_tonight": f"change {REPORT} at classifier label_before label_now because since report_id "
    "report_version_id",
    "metric_history": "at classifier model_id subject population slice name value low high n run_id",
    "backlog_coverage": "classifier source model_id reports predicted waiting scoring_failed share",
    "champion_history": "classifier epoch model_id answered_from answered_until decision actor why "
    "previous_model_id promotion_id",
    "shadow_answer": "classifier source external_id version report_date model_id champion_id label "
    "probability decision champion_label champion_decision same_label scored_at state report_id "
    "report_version_id",
}


@pytest.fixture
def history(engine: Engine) -> History:
    return two_days(engine)


def test_names_and_columns_are_what_was_promised(engine: Engine) -> None:
    inspector = inspect(engine)
    found = {
        name: " ".join(column["name"] for column in inspector.get_columns(name))
        for name in inspector.get_view_names()
    }
    assert found == CONTRACT
    assert {view.name: " ".join(view.columns) for view in views.VIEWS} == CONTRACT


def test_the_current_prediction_is_the_champions_of_what_is_present(history: History) -> None:
    found = history.rows(
        "SELECT source, external_id, version, label, decision FROM current_prediction "
        "WHERE classifier = 'paaf' ORDER BY source, external_id"
    )
    assert found == [
        # clinica/L1 was answered by the model before only, his/L2 is gone
        ("clinica", "L2", 1, "maligno", "auto"),
        ("clinica", "L9", 1, "maligno", "auto"),
        ("his", "L1", 2, "maligno", "auto"),
        ("his", "L3", 1, "maligno", "auto"),
    ]


def test_probabilities_are_read_whatever_a_label_is_called(history: History) -> None:
    found = history.rows(
        "SELECT DISTINCT label, probability, critical_probability FROM prediction_history "
        "WHERE classifier = 'birads' ORDER BY label"
    )
    assert found == [("4", 0.9, pytest.approx(0.1)), ('não "visto"', 0.6, 0.6), ('não "visto"', 0.9, 0.9)]


def test_a_prediction_that_no_longer_counts_stays_and_says_why(history: History) -> None:
    found = history.rows(
        "SELECT source, external_id, version, model_id, superseded_because FROM prediction_history "
        "WHERE classifier = 'paaf' ORDER BY model_id, source, external_id, version"
    )
    assert found == [
        ("clinica", "L1", 1, 1, "champion_changed"),
        ("clinica", "L2", 1, 1, "champion_changed"),
        ("his", "L1", 1, 1, "report_amended"),
        ("his", "L2", 1, 1, "report_gone"),
        ("his", "L3", 1, 1, "champion_changed"),
        ("clinica", "L2", 1, 3, None),
        ("clinica", "L9", 1, 3, None),
        ("his", "L1", 2, 3, None),
        ("his", "L3", 1, 3, None),
    ]
    counted = "SELECT count(*) FROM prediction_history WHERE NOT superseded"
    assert history.rows(counted) == history.rows("SELECT count(*) FROM current_prediction")
    history.change("his", "L3", erased_at=at(9, TONIGHT))
    erased = "SELECT count(*) FROM prediction_history WHERE superseded_because = 'report_erased'"
    assert history.rows(erased) == [(3,)]


def test_a_model_that_was_rolled_back_to_counts_again(history: History) -> None:
    history.crown("paaf", 1, at(5, TONIGHT), "rolled_back")
    found = history.rows(
        "SELECT model_id, superseded_because, count(*) FROM prediction_history "
        "WHERE classifier = 'paaf' GROUP BY model_id, superseded_because ORDER BY 1, 2"
    )
    assert sorted(found, key=str) == [
        (1, "report_amended", 1),
        (1, "report_gone", 1),
        (1, None, 3),
        (3, "champion_changed", 4),
    ]


def test_the_review_queue_holds_what_nobody_has_answered_longest_first(history: History) -> None:
    queue = "SELECT classifier, source, external_id FROM review_queue"
    # clinica/L1 was answered by a person for birads; paaf's unsure answers are a former champion's
    assert history.rows(queue) == [("birads", "clinica", "L2")]
    third, second = (history.versions["his", "L3", 1], history.versions["clinica", "L2", 1])
    new = history.receive("clinica", "L0", DAY_ONE)
    history.answer(2, "4", [new], at(6, TONIGHT), sure=False)
    assert history.rows(queue) == [("birads", "clinica", "L0"), ("birads", "clinica", "L2")]
    history.crown("paaf", 1, at(5, TONIGHT), "rolled_back")
    assert set(history.rows(queue)) == {
        ("birads", "clinica", "L0"),
        ("birads", "clinica", "L2"),
        ("paaf", "clinica", "L2"),
        ("paaf", "his", "L3"),
    }
    history.say(third, "paaf", "benigno", at(6, TONIGHT))
    # an answer to one question is none to the other
    history.say(second, "paaf", "benigno", at(6, TONIGHT))
    assert history.rows(queue) == [("birads", "clinica", "L0"), ("birads", "clinica", "L2")]


def test_status_says_of_as_many_reports_as_the_review_queue_holds_that_they_wait(history: History) -> None:
    queue = "SELECT count(*) FROM review_queue WHERE classifier = 'birads'"

    def told() -> list[tuple[int]]:
        with reading(history.engine) as c:
            return [(status.classifier(c, "birads", None).for_review,)]

    assert told() == history.rows(queue) == [(1,)]
    history.say(history.versions["clinica", "L2", 1], "paaf", "benigno", at(6, TONIGHT))
    assert told() == history.rows(queue) == [(1,)]
    history.say(history.versions["clinica", "L2", 1], "birads", "4", at(6, TONIGHT))
    assert told() == history.rows(queue) == [(0,)]
    refuse(history, "clinica", "L2", "empty")
    assert told() == history.rows(queue) == [(1,)]


def refuse(history: History, name: str, external_id: str, reason: str) -> None:
    """What the source holds of a report by now cannot be taken in."""
    with writing(history.engine) as c:
        of = c.execute(select(source.c.id).where(source.c.name == name)).scalar_one()
        quarantine.add(c, 1, of, [quarantine.Refused(external_id, "f" * 64, reason, {})], at(9, TONIGHT))


def test_a_report_amended_into_what_cannot_be_read_is_marked_and_waits_until_that_is_settled(
    history: History,
) -> None:
    marked = (
        "SELECT classifier, source, external_id, decision FROM current_prediction "
        "WHERE content_in_quarantine ORDER BY classifier"
    )
    queue = marked.replace("current_prediction", "review_queue")
    for reason in (quarantine.UNKNOWN_LABEL, quarantine.SCORING_FAILED):
        refuse(history, "his", "L3", reason)  # these stand beside a report
    assert history.rows(marked) == []
    refuse(history, "his", "L3", "empty")
    both = [("birads", "his", "L3", "auto"), ("paaf", "his", "L3", "auto")]
    assert history.rows(marked) == history.rows(queue) == both
    # who answered saw the text that is out of date
    history.say(history.versions["his", "L3", 1], "paaf", "benigno", at(9, TONIGHT))
    with reading(history.engine) as c:
        exported = [one for page in predictions.export(c, 3) for one in page]
        asked = review_queue.unlabelled(c, "birads")
    assert [one.external_id for one in exported if one.content_in_quarantine] == ["L3"]
    assert [(one.source, one.external_id) for one in asked] == [("clinica", "L2")]
    assert history.rows(queue) == both
    with writing(history.engine) as c:
        number = max(one.id for one in quarantine.entries(c, "his", "empty"))
        assert quarantine.dismiss(c, number, "a test row", at(10, TONIGHT))
    assert history.rows(marked) == history.rows(queue) == []


def test_what_changed_tonight_is_told_report_by_report_and_answer_by_answer(history: History) -> None:
    told = (
        "SELECT change, source, external_id, version, classifier, label_before, label_now, because "
        "FROM changed_tonight ORDER BY change, classifier, source, external_id"
    )
    reports = [
        ("gone", "his", "L2", 1, None, None, None, None),
        ("new", "clinica", "L9", 1, None, None, None, None),
        ("updated", "his", "L1", 2, None, None, None, None),
    ]
    answers = [
        ("answer", "his", "L1", 2, "birads", "4", 'não "visto"', "report_amended"),
        ("answer", "his", "L1", 2, "paaf", "benigno", "maligno", "both"),
    ]
    assert history.rows(told) == answers + reports
    # one version answered by two champions: only now does the label differ
    third = history.train("paaf", at(5, TONIGHT))
    history.answer(third, "benigno", [history.versions["his", "L3", 1]], at(5, TONIGHT))
    history.crown("paaf", third, at(6, TONIGHT))
    changed = [row for row in history.rows(told) if row[4] == "paaf"]
    assert changed == [("answer", "his", "L3", 1, "paaf", "maligno", "benigno", "champion_changed")]
    # back at the model of yesterday, whose answers are those of yesterday
    history.crown("paaf", 1, at(7, TONIGHT), "rolled_back")
    assert [row for row in history.rows(told) if row[4] == "paaf"] == []


def test_without_a_nightly_run_changes_of_the_last_24_hours_are_told(engine: Engine) -> None:
    history, now = History(engine), datetime.now(UTC)
    history.receive("his", "L1", now - timedelta(hours=25))
    history.receive("his", "L2", now - timedelta(hours=23))
    assert history.rows("SELECT external_id FROM changed_tonight") == [("L2",)]


def test_coverage_counts_what_is_there_what_is_answered_and_what_waits(history: History) -> None:
    told = (
        "SELECT classifier, source, reports, predicted, waiting, scoring_failed, share FROM backlog_coverage "
        "ORDER BY classifier, source"
    )
    assert history.rows(told) == [
        ("birads", "clinica", 3, 2, 1, 0, pytest.approx(2 / 3)),
        ("birads", "his", 2, 2, 0, 0, 1.0),
        ("paaf", "clinica", 3, 2, 1, 0, pytest.approx(2 / 3)),
        ("paaf", "his", 2, 2, 0, 0, 1.0),
    ]
    with reading(history.engine) as c:  # what waits is what the next scoring job will take
        assert [backlog.count(c, model_id, None) for model_id in (2, 3)] == [1, 1]
    with writing(history.engine) as c:
        backlog.give_up(c, "birads", [history.versions["clinica", "L9", 1]], 1, at(9, TONIGHT))
    assert history.rows(told)[0] == ("birads", "clinica", 3, 2, 0, 1, pytest.approx(2 / 3))


def test_what_the_model_of_one_classifier_fails_on_waits_for_the_other_all_the_same(history: History) -> None:
    told = "SELECT waiting, scoring_failed FROM backlog_coverage WHERE source = 'clinica' ORDER BY classifier"

    def stands() -> tuple[list[tuple[int, int]], list[int]]:
        with reading(history.engine) as c:
            return history.rows(told), [backlog.count(c, model_id, None) for model_id in (2, 3)]

    new = history.receive("clinica", "L8", TONIGHT)
    with writing(history.engine) as c:
        of = c.execute(select(source.c.id).where(source.c.name == "clinica")).scalar_one()
        backlog.give_up(c, "birads", [new], 1, at(9, TONIGHT))
    assert stands() == ([(1, 1), (2, 0)], [1, 2])
    with writing(history.engine) as c:
        backlog.give_up(c, "paaf", [new], 1, at(9, TONIGHT))
        backlog.give_up(c, "paaf", [new], 1, at(10, TONIGHT))
    assert stands() == ([(1, 1), (1, 1)], [1, 1])
    with writing(history.engine) as c:
        assert backlog.try_again(c, of, at(11, TONIGHT)) == 2
    assert stands() == ([(2, 0), (2, 0)], [2, 2])
    # of a row that an earlier laudos wrote it may not be known: it is withheld from both
    with writing(history.engine) as c:
        sha = c.execute(select(report_version.c.raw_sha).where(report_version.c.id == new)).scalar_one()
        refused = quarantine.Refused("L8", sha, quarantine.SCORING_FAILED, {})
        quarantine.add(c, 1, of, [refused], at(12, TONIGHT))
    assert stands() == ([(1, 1), (1, 1)], [1, 1])


def test_the_champions_history_says_who_answered_from_when_until_when_and_why(history: History) -> None:
    history.crown("paaf", 1, at(5, TONIGHT), "rolled_back")
    found = history.rows(
        "SELECT epoch, model_id, decision, previous_model_id, why FROM champion_history "
        "WHERE classifier = 'paaf' ORDER BY epoch"
    )
    why = "sensitivity for maligno: 0.91; sensitivity for maligno: 0.91"
    assert found == [(1, 1, "promoted", None, why), (2, 3, "promoted", 1, why), (3, 1, "rolled_back", 3, why)]
    chain = history.rows(
        "SELECT a.epoch FROM champion_history a JOIN champion_history b "
        "ON b.classifier = a.classifier AND b.answered_from = a.answered_until ORDER BY 1"
    )
    assert chain == [(1,), (2,)]
    now = "SELECT classifier, model_id FROM champion_history WHERE answered_until IS NULL ORDER BY 1"
    assert history.rows(now) == [("birads", 2), ("paaf", 1)]


def test_what_a_challenger_would_have_said_stands_beside_what_was_said(history: History) -> None:
    found = history.rows(
        "SELECT source, external_id, model_id, champion_id, label, probability, champion_label, "
        "same_label, state FROM shadow_answer ORDER BY source"
    )
    assert [(*row[:7], bool(row[7]), row[8]) for row in found] == [
        ("clinica", "L1", 3, 1, "maligno", 0.75, "benigno", False, "accepted"),
        ("his", "L1", 3, 1, "benigno", 0.75, "benigno", True, "accepted"),
    ]


def test_figures_are_told_with_their_classifier(history: History) -> None:
    found = "SELECT classifier, subject, population, slice, name, value, n FROM metric_history"
    assert history.rows(found) == [("paaf", "model", "source", "all", "sensitivity", 0.8, 10)]


def test_no_view_shows_text_or_a_patients_key(history: History) -> None:
    for view in CONTRACT:
        rows = history.rows(f"SELECT * FROM {view}")
        assert rows
        assert SECRET not in str(rows)
        assert PATIENT not in str(rows)


@pytest.mark.postgres
def test_views_and_their_columns_bear_their_comments(postgres_url: str) -> None:
    schema.upgrade(postgres_url)
    engine = open_engine(postgres_url)
    told = (
        "SELECT c.relname, coalesce(a.attname, ''), d.description FROM pg_description d "
        "JOIN pg_class c ON c.oid = d.objoid AND c.relkind = 'v' "
        "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0"
    )
    with reading(engine) as c:
        found = {(name, column): comment for name, column, comment in c.execute(text(told))}
    engine.dispose()
    wanted = {(view.name, ""): view.comment for view in views.VIEWS} | {
        (view.name, column): comment for view in views.VIEWS for column, comment in view.columns.items()
    }
    assert found == wanted


@pytest.mark.postgres
def test_a_view_of_somebody_elses_stops_an_upgrade_that_would_have_to_drop_it(postgres_url: str) -> None:
    schema.upgrade(postgres_url)
    theirs = create_engine(postgres_url)
    with theirs.begin() as c:
        c.exec_driver_sql(
            "CREATE VIEW dashboard AS SELECT label, count(*) FROM current_prediction GROUP BY 1"
        )
    schema.upgrade(postgres_url)  # nothing to migrate: ours are replaced, theirs stays
    with pytest.raises(ConfigurationError, match="dashboard stand on laudos' views"):
        schema.downgrade(postgres_url, "0001")
    with theirs.begin() as c:
        c.exec_driver_sql("DROP VIEW dashboard")
    schema.downgrade(postgres_url, "0001")
    assert inspect(theirs).get_view_names() == []
    theirs.dispose()


@pytest.mark.postgres
@pytest.mark.parametrize(
    "function",
    [
        "one() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM review_queue; END",
        "one() RETURNS SETOF review_queue LANGUAGE sql AS 'SELECT * FROM review_queue'",
    ],
)
def test_a_function_of_somebody_elses_on_our_views_stops_an_upgrade_by_its_name(
    function: str, postgres_url: str
) -> None:
    schema.upgrade(postgres_url)
    theirs = create_engine(postgres_url)
    with theirs.begin() as c:
        c.exec_driver_sql(f"CREATE FUNCTION {function}")
    with pytest.raises(ConfigurationError, match=r"function one\(\) stand on laudos' views"):
        schema.downgrade(postgres_url, "0010")
    with theirs.begin() as c:
        c.exec_driver_sql("DROP FUNCTION one")
    assert schema.downgrade(postgres_url, "0010").revision == "0010"
    theirs.dispose()
