"""Exercises: findings of two specimens in one report, and a label drawn from what they are worth together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tasks.exercises import exercises_asked, exercises_for
from tasks.ml.synthesis.exam_paaf import Paaf
from tasks.ml.synthesis.exams import Row, training_rows
from tasks.ml.synthesis.exercises import _Worth, can_be_set, exercises
from tasks.settings import ClassifierSettings

TAUGHT = {"labels": ["benigno", "maligno"], "critical": "maligno", "training_labels": ["synthetic"]}


@pytest.fixture(scope="module")
def paaf() -> Paaf:
    return Paaf()


@pytest.fixture(scope="module")
def rows(paaf: Paaf) -> Sequence[Row]:
    return training_rows(paaf.rows(), 0.3)[:80]


def test_the_same_seed_sets_the_same_exercises_and_more_of_them_change_none(rows: Sequence[Row]) -> None:
    few = list(exercises("paaf", count=20, seed=1, rows=rows))
    assert few == list(exercises("paaf", count=40, seed=1, rows=rows))[:20]
    assert not {one.text for one in few} & {
        one.text for one in exercises("paaf", count=20, seed=2, rows=rows)
    }
    assert {one.label for one in few} == {"benigno", "maligno"}


def test_findings_say_as_much_as_they_are_worth_and_only_where_they_are_mentioned(
    paaf: Paaf, rows: Sequence[Row]
) -> None:
    findings = paaf.grammar.exam.findings
    worth = _Worth(paaf.grammar.exam, paaf.fit(rows), rows, seed=0)
    bland, marked = (dict.fromkeys(findings, level) for level in (0, 3))
    halves = [
        sum(worth.drawn(levels, findings, n / 100) == "maligno" for n in range(100))
        for levels in (bland, marked)
    ]
    assert halves[0] < 5
    assert halves[1] > 95
    assert all(worth.drawn(bland, [], n / 100) == worth.drawn(marked, [], n / 100) for n in range(100))


def test_only_an_exam_whose_findings_are_degrees_can_be_mixed() -> None:
    """A mass that is not there has no margin: two mammograms make no third."""
    assert can_be_set("paaf")
    assert not can_be_set("mammography")


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 0),
        ({"training": {"exercises": 50}}, 50),
        ({"training": {"exercises": 50}, "training_labels": ["source"]}, 0),
        ({"training": {"exercises": 50}, "synthetic": {"exam": "mammography"}}, 0),
    ],
)
def test_exercises_are_set_where_synthetic_reports_of_such_an_exam_teach(
    changes: dict[str, object], count: int
) -> None:
    asked = ClassifierSettings.model_validate(TAUGHT | changes)
    assert exercises_asked(asked) == exercises_for(asked, 20_000) == count
    assert exercises_for(asked, 16) == min(count, 20)
