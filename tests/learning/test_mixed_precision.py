"""`training.mixed_precision`, from laudos.toml to the model's report, and made again so or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tasks.inspection.reproduce import reproduce
from tasks.ml.network.artifact import read_facts
from tasks.ml.network.published import pretraining_facts
from tasks.model_folders import folder_of
from tasks.models.models import show_model
from tasks.pages.model_report import report_of
from tasks.training.plan import config_sha, training_config
from tests.conftest import Capable
from tests.learning.retraining import challenge, distilled, model_of, retrain
from tests.learning.test_pretrain import pretrained
from tests.learning.world import CLASSIFIER, TRAINING, World

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would train")
MIXED = TRAINING | {"layers": 2, "epochs": 3.0, "mixed_precision": True}


@pytest.fixture
def hospital(world: World, reconfigured: Callable[..., World]) -> World:
    world = reconfigured(world, training=MIXED)
    world.add(range(80))
    return world


def precision_of(world: World, model_id: int) -> str:
    [stage] = read_facts(folder_of(world.settings, model_of(world, model_id))).training.values()
    return str(stage["precision"])


def test_what_was_computed_in_is_recorded_told_and_computed_in_again(
    hospital: World, capable: Capable
) -> None:
    capable(True)
    made = retrain(hospital)
    number = made.trained.model_id
    assert made.trained.notes == ()
    assert precision_of(hospital, number) == "bfloat16"
    [told] = show_model(hospital.settings, number).learnt
    assert told.endswith("(computed in bfloat16)")
    assert (
        told[10:] in report_of(hospital.engine, hospital.settings, model_of(hospital, number), None).markdown
    )
    again = reproduce(hospital.engine, hospital.settings, number)
    assert (again.same, again.differences) == (True, [])


def test_a_machine_without_bfloat16_says_that_it_cannot_come_to_the_same_weights(
    hospital: World, capable: Capable, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable(True)
    made = challenge(hospital)
    capable(False)
    monkeypatch.setattr("tasks.inspection.reproduce.taught_by", None)  # nothing is trained to find that out
    again = reproduce(hospital.engine, hospital.settings, made.model_id)
    [told] = again.differences
    assert not again.same
    assert (told.what, told.recorded) == ("precision", "trained in bfloat16")
    assert "this processor has no arithmetic on bfloat16" in told.now
    assert told.now.endswith("it cannot come to the same weights")


def test_where_it_was_wanted_and_not_there_float32_is_told_and_computed_in_again(
    hospital: World, capable: Capable
) -> None:
    capable(False)
    made = challenge(hospital)
    [note] = made.notes
    assert note.startswith("training: computed in float32, because this processor has no arithmetic")
    assert precision_of(hospital, made.model_id) == "float32"
    capable(True)  # on a machine that has it the model is made again as it was made
    assert reproduce(hospital.engine, hospital.settings, made.model_id).same


def test_a_student_is_taught_in_it_and_comes_out_the_same(hospital: World, capable: Capable) -> None:
    capable(True)
    retrain(hospital)
    student = distilled(hospital)
    assert precision_of(hospital, student.model_id) == "bfloat16"
    assert reproduce(hospital.engine, hospital.settings, student.model_id).same


@pytest.mark.parametrize("has", [True, False])
def test_an_encoder_that_was_pre_trained_here_says_what_was_computed_in(
    world: World, capable: Capable, has: bool
) -> None:
    capable(has)
    world.add(range(60))
    facts = pretraining_facts(Path(pretrained(world).folder))
    assert facts["precision"] == ("bfloat16" if has else "float32")


def test_who_does_not_choose_it_has_the_settings_of_before(
    world: World, reconfigured: Callable[..., World]
) -> None:
    """A champion of before there was a choice is not trained anew for it."""

    def sha(one: World) -> str:
        config = training_config(one.settings, one.settings.classifier(CLASSIFIER))
        assert config["training"].get("mixed_precision") in (None, True)
        return config_sha(config)

    without = sha(world)
    assert sha(reconfigured(world, training=TRAINING | {"mixed_precision": False})) == without
    assert sha(reconfigured(world, training=TRAINING | {"mixed_precision": True})) != without
