"""Exercises teach body and head, where the settings ask for them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from db.tables import report
from tests.learning.retraining import challenge, weights_of
from tests.learning.world import TRAINING, World


def test_exercises_teach_body_and_head_and_leave_nothing_in_the_database(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(range(60))
    taught = {"training_labels": ["source", "synthetic"]}
    plain = reconfigured(world, **taught, training=TRAINING | {"lessons": 0})
    more = reconfigured(world, **taught, training=TRAINING | {"lessons": 0, "exercises": 24})
    without, with_them = (challenge(one).model_id for one in (plain, more))
    before, after = weights_of(world, without), weights_of(world, with_them)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before if name.endswith("weight"))
    assert world.count(report) == 60
