"""Exercises teach the body, where the settings ask for them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from db.tables import report
from tasks.model_report import encoder_in_words
from tasks.reproduce import reproduce
from tests.learning.retraining import challenge, model_of, weights_of
from tests.learning.world import TRAINING, World


def test_exercises_teach_the_body_leave_nothing_in_the_database_and_are_set_again(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(range(60))
    taught: dict[str, Any] = {"training_labels": ["source", "synthetic"]}
    plain = reconfigured(world, **taught, training=TRAINING | {"lessons": 0})
    # of the exercises alone: the world's reports bear labels already
    taught["label_values"] = {"benigno": "maligno", "maligno": "benigno"}
    more = reconfigured(world, **taught, training=TRAINING | {"lessons": 0, "exercises": 24})
    without, with_them = (challenge(one).model_id for one in (plain, more))
    before, after = weights_of(world, without), weights_of(world, with_them)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before if name.endswith("weight"))
    assert world.count(report) == 60
    recorded = [model_of(world, one).config for one in (without, with_them)]
    assert ["24 exercises" in encoder_in_words(config) for config in recorded] == [False, True]
    again = reproduce(more.engine, more.settings, with_them)
    assert (again.same, again.differences) == (True, [])
