"""`classifiers.X.encoder` may name an encoder that was imported; what is not whole teaches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from db.engine import reading
from db.errors import ConfigurationError
from tasks.ml.encoders.folder import facts_of, seal, take_in
from tasks.ml.errors import BrokenArtifact, UnfitEncoder
from tasks.ml.network.encoder import EncoderSpec, make_scratch
from tasks.model_folders import encoders_folder
from tasks.pretraining.learning import Asked
from tasks.upkeep import doctor_folders
from tests.learning.retraining import challenge, model_of, retrain
from tests.learning.test_pretrain import pretrained
from tests.learning.world import World
from tests.ml.conftest import LABELS, WINDOW, bare_network, save, written

HOSPITAL = range(60)


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save(bare_network("distilbert", written(60, 1)[0]), tmp_path_factory.mktemp("carried"))
    seal(folder, facts_of(folder, "biobertpt-clin", "pucpr/biobertpt-clin", "1" * 40, None))
    return folder


def doctors_word(of: World) -> list[tuple[bool, str]]:
    with reading(of.engine) as c:
        found = list(doctor_folders.examine(c, of.settings, of.now))
    return [(one.ok, one.found) for one in found if one.name == "encoders_are_here"]


def test_an_imported_encoder_is_trained_by_its_name(
    world: World, reconfigured: Callable[..., World], carried: Path
) -> None:
    world.add(HOSPITAL)
    named = reconfigured(world, encoder="biobertpt-clin")
    with pytest.raises(ConfigurationError, match='laudos encoders import biobertpt-clin"'):
        challenge(named)
    assert doctors_word(world) == []  # it names none
    assert doctors_word(named) == [(False, "encoder biobertpt-clin")]
    take_in(carried, encoders_folder(world.settings))
    assert [kept for kept, _ in doctors_word(named)] == [True]
    trained = retrain(named).trained
    assert trained.trained == "full"
    made = model_of(named, trained.model_id)
    assert made.config["encoder"] == "biobertpt-clin"

    weights = encoders_folder(world.settings) / "biobertpt-clin" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    world.add(range(60, 66))
    with pytest.raises(BrokenArtifact, match=r"model\.safetensors was altered"):
        challenge(named, "full")


def test_a_name_of_ones_own_is_known_once_it_was_imported(
    world: World, reconfigured: Callable[..., World], carried: Path
) -> None:
    with pytest.raises(ConfigurationError, match="no encoder of it was imported"):
        reconfigured(world, encoder="ours")
    take_in(carried, encoders_folder(world.settings), "ours")
    assert reconfigured(world, encoder="ours").settings.classifier("achado").encoder == "ours"


def test_other_weights_under_the_same_folder_are_another_training(
    world: World, reconfigured: Callable[..., World], tmp_path: Path
) -> None:
    world.add(HOSPITAL)
    ours = save(bare_network("distilbert", written(60, 1)[0]), tmp_path / "ours")
    named = reconfigured(world, encoder=str(ours))
    first = retrain(named)
    assert first.decided.decision == "promoted", first.decided.reasons
    assert challenge(named, "full").reused
    (ours / "README.md").write_text("which encoder this is")
    assert challenge(named, "full").reused
    other = bare_network("distilbert", written(60, 1)[0])
    other[0].get_input_embeddings().weight.data.neg_()
    save(other, ours)
    assert not challenge(named, "full").reused
    after = challenge(named)
    assert after.notes[0].startswith("what lies in the encoder's folder changed since champion model 1")


def test_a_frozen_encoder_without_its_pooler_is_trained_with_a_note(
    world: World, reconfigured: Callable[..., World], tmp_path: Path
) -> None:
    world.add(HOSPITAL)
    spec = EncoderSpec(window_tokens=WINDOW, hidden_size=32, layers=1, vocabulary=220)
    model, tokenizer = make_scratch(written(60, 1)[0], LABELS, spec, 3)
    model.bert.pooler = None
    named = reconfigured(world, encoder=str(save((model, tokenizer), tmp_path / "ours")))
    [note] = challenge(named, "head").notes
    assert "(bert.pooler.dense): it stays as it was drawn" in note


def test_a_frozen_encoder_with_fewer_positions_than_a_window_is_refused_before_any_report_is_read(
    world: World, reconfigured: Callable[..., World], tmp_path: Path
) -> None:
    world.add(HOSPITAL)
    ours = str(save(bare_network("distilbert", written(60, 1)[0]), tmp_path / "ours"))
    named = reconfigured(world, encoder=ours, training={"window_tokens": WINDOW + 1, "stride_tokens": 4})
    with pytest.raises(UnfitEncoder, match=f"set window_tokens to {WINDOW} or less"):
        challenge(named, "head")
    with pytest.raises(UnfitEncoder, match=f"set window_tokens to {WINDOW} or less"):
        pretrained(named, Asked(epochs=0.1))
