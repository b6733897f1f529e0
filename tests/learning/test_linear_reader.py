"""The linear reader beside a champion's network: fitted with its body, kept under a new head, or left out."""

from __future__ import annotations

from collections.abc import Callable

from db import snapshots
from db.engine import reading
from tasks.inspection.recorded_training import as_recorded
from tasks.labels.vectors import labelled_vectors
from tasks.ml.network.linear_reader import FILE
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import folder_of
from tasks.models.models import show_model
from tasks.training.plan import training_config
from tests.learning.retraining import champion_of, model_of, retrain
from tests.learning.world import CLASSIFIER, TRAINING, World

HOSPITAL = range(100)


def loaded(world: World, model_id: int) -> Predictor:
    model = model_of(world, model_id)
    return Predictor.load(folder_of(world.settings, model), model.manifest_sha)


def test_they_are_fitted_with_a_body_and_stay_under_a_new_head(both: World) -> None:
    both.add(HOSPITAL)
    first = retrain(both).trained
    both.add(range(100, 120))
    second = retrain(both).trained
    assert (first.trained, second.trained) == ("full", "head")
    whole, head = loaded(both, first.model_id), loaded(both, second.model_id)
    assert whole.beside is not None
    assert head.beside is not None
    assert whole.beside.sha == head.beside.sha
    assert whole.encoder_sha == head.encoder_sha
    assert whole.hidden == TRAINING["hidden_size"] + 2
    assert show_model(both.settings, second.model_id).answers.startswith("the network, trusted ")


def test_what_doubts_labels_looks_at_the_network_alone(world: World) -> None:
    world.add(HOSPITAL)
    retrain(world)
    with reading(world.engine) as c:
        found = labelled_vectors(c, champion_of(world).model, world.settings.classifier(CLASSIFIER))
    assert found.vectors.shape == (len(found.reports), TRAINING["hidden_size"])


def test_without_them_the_folder_is_as_ever_and_turning_them_on_trains_the_whole_network(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    alone = reconfigured(world, training=TRAINING | {"linear_reader": False})
    first = model_of(alone, retrain(alone).trained.model_id)
    assert not (folder_of(world.settings, first) / FILE).exists()
    assert loaded(alone, first.id).beside is None
    assert "linear_reader" not in first.config["training"]  # as those recorded before there was a choice
    again = retrain(world).trained
    assert (again.trained, loaded(world, again.model_id).beside is not None) == ("full", True)
    assert again.notes[0].startswith("training changed")


def test_a_training_that_was_recorded_before_them_is_made_again_without(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    alone = reconfigured(world, training=TRAINING | {"linear_reader": False})
    model = model_of(alone, retrain(alone).trained.model_id)
    with reading(world.engine) as c:
        snapshot = snapshots.get(c, model.snapshot_id)
    assert snapshot is not None
    recorded = as_recorded(world.engine, world.settings, model, snapshot)
    assert not recorded.classifier(CLASSIFIER).has_linear_reader
    assert training_config(recorded, recorded.classifier(CLASSIFIER)) == model.config
