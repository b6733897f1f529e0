"""`training.pooling` and `training.windows`, from the settings to a published folder and the night after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tasks.inspection.reproduce import reproduce
from tasks.ml.network.artifact import read_facts
from tasks.ml.network.attentive import attention_of
from tasks.ml.network.predictor import Predictor
from tasks.ml.reading.conclusions import ConclusionHeadings, shipped
from tasks.ml.reading.long_reports import LongReports
from tasks.model_folders import folder_of
from tests.learning.retraining import challenge, distilled, model_of, retrain
from tests.learning.world import TRAINING, World

HOSPITAL = range(60)


@pytest.mark.parametrize("pooling", ["attention", "sentences"])
def test_attention_is_trained_published_and_carries_the_next_nights_head(
    pooling: str, world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    attentive = reconfigured(world, training=TRAINING | {"layers": 2, "pooling": pooling})
    first = retrain(attentive).trained
    model = model_of(attentive, first.model_id)
    assert (first.trained, model.config["training"]["pooling"]) == ("full", pooling)
    predictor = Predictor.load(folder_of(attentive.settings, model), model.manifest_sha)
    assert attention_of(predictor.model) is not None
    assert bool(predictor.model.sentence_ends) == (pooling == "sentences")
    long, short = predictor.predict(["nódulo com células atípicas. " * 60, "nódulo"])
    assert (long.windows > 1, short.windows) == (True, 1)
    assert long.tokens_seen == long.tokens_total

    world.add(range(60, 66))
    night = challenge(attentive, "head")
    assert model_of(attentive, night.model_id).encoder_sha == model.encoder_sha
    assert night.trained == "head"

    made = distilled(attentive)
    student = model_of(attentive, made.model_id)
    half = Predictor.load(folder_of(attentive.settings, student), student.manifest_sha)
    assert (made.layers, made.teacher_layers) == (1, 2)
    assert attention_of(half.model) is not None
    assert half.model.sentence_ends == predictor.model.sentence_ends
    assert half.predict(["nódulo com células atípicas. " * 60])[0].windows > 1


def test_a_long_reports_windows_are_those_that_the_model_was_trained_with(
    world: World, reconfigured: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"Dados: {'exame ' * 12}.\nConclusão: {'boa ' * 8}.\nNota: {'sem queixas ' * 20}"
    world = reconfigured(world, training=TRAINING | {"pooling": "max", "windows": "conclusion"})
    world.add(HOSPITAL)
    first = retrain(world).trained
    model = model_of(world, first.model_id)
    assert (model.config["training"]["pooling"], model.config["training"]["windows"]) == ("max", "conclusion")

    def loaded() -> Predictor:
        return Predictor.load(folder_of(world.settings, model), model.manifest_sha)

    predictor = loaded()
    assert predictor.facts.long_reports == LongReports(shipped(), "max")
    before = predictor.predict([text])
    # headings that a later laudos adds are no concern of a model that was trained before
    monkeypatch.setattr("tasks.training.train_body.shipped", lambda: ConclusionHeadings(("nota",), ()))
    assert loaded().predict([text]) == before
    plain = replace(predictor, facts=replace(predictor.facts, long_reports=LongReports()))
    assert not np.array_equal(plain.vectors([text]).vectors, predictor.vectors([text]).vectors)


def test_with_later_headings_a_head_a_student_and_a_model_made_again_cut_by_those_of_their_body(
    world: World, reconfigured: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = reconfigured(world, training=TRAINING | {"layers": 2, "windows": "conclusion"})
    world.add(HOSPITAL)
    first = retrain(world).trained
    model = model_of(world, first.model_id)
    monkeypatch.setattr("tasks.training.train_body.shipped", lambda: ConclusionHeadings(("nota",), ()))

    world.add(range(60, 66))
    night, again = challenge(world, "head"), challenge(world, "head")
    assert (night.trained, model_of(world, night.model_id).encoder_sha) == ("head", model.encoder_sha)
    assert night.encoded < 66  # what taught the champion was not read again
    assert (again.reused, again.model_id) == (True, night.model_id)

    student = model_of(world, distilled(world).model_id)
    for one in (model, model_of(world, night.model_id), student):
        assert read_facts(folder_of(world.settings, one)).long_reports.conclusions == shipped()
    for one in (model, student):
        assert reproduce(world.engine, world.settings, one.id).differences == []
    whole = model_of(world, challenge(world, "full").model_id)
    assert read_facts(folder_of(world.settings, whole)).long_reports != LongReports(shipped())


def test_a_model_that_was_recorded_before_there_was_a_choice_is_known_again(world: World) -> None:
    world.add(HOSPITAL)
    trained = challenge(world)
    assert not {"pooling", "windows"} & model_of(world, trained.model_id).config["training"].keys()
