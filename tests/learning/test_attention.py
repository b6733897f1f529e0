"""`training.pooling = "attention"`, from the settings to a published folder and the night after."""

from __future__ import annotations

from collections.abc import Callable

from tasks.ml.attentive import attention_of
from tasks.ml.predictor import Predictor
from tasks.model_folders import folder_of
from tests.learning.retraining import challenge, model_of, retrain
from tests.learning.world import World

HOSPITAL = range(60)


def test_attention_is_trained_published_and_carries_the_next_nights_head(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    settings = world.settings.classifier("achado").training
    attentive = reconfigured(
        world, training={**settings.model_dump(exclude_none=True), "pooling": "attention"}
    )
    first = retrain(attentive).trained
    model = model_of(attentive, first.model_id)
    assert (first.trained, model.config["training"]["pooling"]) == ("full", "attention")
    predictor = Predictor.load(folder_of(attentive.settings, model), model.manifest_sha)
    assert attention_of(predictor.model) is not None
    long, short = predictor.predict(["nódulo com células atípicas. " * 60, "nódulo"])
    assert (long.windows > 1, short.windows) == (True, 1)
    assert long.tokens_seen == long.tokens_total

    world.add(range(60, 66))
    night = challenge(attentive, "head")
    assert model_of(attentive, night.model_id).encoder_sha == model.encoder_sha
    assert night.trained == "head"


def test_a_model_that_was_recorded_before_there_was_a_choice_is_known_again(world: World) -> None:
    world.add(HOSPITAL)
    trained = challenge(world)
    assert "pooling" not in model_of(world, trained.model_id).config["training"]
