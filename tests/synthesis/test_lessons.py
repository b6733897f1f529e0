"""Lessons: single clauses and what they state, of every finding, and of nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from tasks.ml.synthesis.lessons import LISTS, lessons, statements
from tasks.ml.synthesis.wording import Wording
from tasks.ml.training.teaching import LESSONS
from tasks.settings.settings import ClassifierSettings
from tasks.training.train_body import augment_for, lessons_for, pooling_for

EXAMS = ("paaf", "mammography")


@pytest.mark.parametrize("exam", EXAMS)
def test_every_level_of_every_finding_is_taught_about_as_often(exam: str) -> None:
    said = Counter(lesson.says for lesson in lessons(exam, count=4000, seed=0))
    names = statements(exam)
    assert sorted(said) == list(range(len(names)))
    alone = [count for says, count in said.items() if names[says] not in LISTS]
    assert min(alone) > 0.4 * sum(alone) / len(alone)


def test_the_same_seed_gives_the_same_lessons_and_more_of_them_change_none() -> None:
    few = list(lessons("paaf", count=50, seed=3))
    assert few == list(lessons("paaf", count=200, seed=3))[:50]
    assert few != list(lessons("paaf", count=50, seed=4))


def test_what_a_lesson_says_is_what_a_reader_would_take_from_it() -> None:
    """Denied or of the first degree, against the highest: the words of one are never the other's."""
    names = statements("paaf")
    told = {name: set() for name in names}
    for lesson in lessons("paaf", count=6000, seed=0):
        told[names[lesson.says]].add(lesson.text.lower())
    assert not told[LISTS[0]] & told[LISTS[1]]
    for finding in {name.partition("=")[0] for name in names if name not in LISTS}:
        assert not told[f"{finding}=tipico"] & told[f"{finding}=acentuado"]


def test_lessons_in_one_half_of_the_wordings_hold_none_of_the_other() -> None:
    """Or a model that is asked about the other half would have been taught it here."""
    halves = [
        {
            one.text
            for one in lessons("paaf", count=1500, seed=0, wording=Wording(half=half, unit="realisation"))
        }
        for half in (0, 1)
    ]
    assert not halves[0] & halves[1]
    everything = [{one.text for one in lessons("paaf", count=1500, seed=seed)} for seed in (0, 1)]
    assert everything[0] & everything[1], "the check above could not have failed"


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, LESSONS),
        ({"training_labels": ["source"]}, 0),
        ({"encoder": "folder"}, 0),
        ({"training": {"lessons": 0}}, 0),
        ({"encoder": "folder", "training": {"lessons": 70}}, 70),
    ],
)
def test_a_network_from_scratch_that_synthetic_reports_teach_has_lessons(
    changes: dict[str, object], count: int
) -> None:
    taught = {"labels": ["benigno", "maligno"], "critical": "maligno", "training_labels": ["synthetic"]}
    assert lessons_for(ClassifierSettings.model_validate(taught | changes)) == count


def test_findings_come_and_go_after_lessons_unless_the_settings_say_otherwise() -> None:
    taught = {"labels": ["benigno", "maligno"], "critical": "maligno", "training_labels": ["synthetic"]}
    shipped = ClassifierSettings.model_validate(taught)
    assert list(augment_for(shipped)) == ["clauses"]
    own = ClassifierSettings.model_validate(taught | {"training_labels": ["source"]})
    assert list(augment_for(own)) == []
    off = ClassifierSettings.model_validate(taught | {"training": {"augment": []}})
    assert list(augment_for(off)) == []


@pytest.mark.parametrize(
    ("changes", "pooling"),
    [
        ({}, "sentences"),
        ({"training_labels": ["source"]}, "network"),
        ({"training": {"lessons": 0}}, "network"),
        ({"training": {"pooling": "network"}}, "network"),
        ({"encoder": "folder", "training": {"lessons": 70}}, "network"),
    ],
)
def test_sentences_are_read_by_themselves_after_lessons_unless_the_settings_say_otherwise(
    changes: dict[str, object], pooling: str
) -> None:
    taught = {"labels": ["benigno", "maligno"], "critical": "maligno", "training_labels": ["synthetic"]}
    assert pooling_for(ClassifierSettings.model_validate(taught | changes)) == pooling
