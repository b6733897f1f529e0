"""Where encoders come from, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.ml.errors import UnfitData, UnfitEncoder
from tasks.ml.network.attentive import attention_of
from tasks.ml.network.encoder import (
    EncoderSpec,
    check_window,
    encoder_sha,
    load_classifier,
    load_encoder,
    load_frozen,
    make_scratch,
    positions,
)
from tasks.ml.network.features import encode
from tests.ml.conftest import LABELS, STRIDE, WINDOW, Network, bare_network, save

SMALL = EncoderSpec(window_tokens=WINDOW, hidden_size=32, layers=1, vocabulary=400)


def test_the_same_texts_and_seed_make_the_same_encoder(tiny: Callable[[], Network]):
    assert encoder_sha(*tiny(), WINDOW, STRIDE) == encoder_sha(*tiny(), WINDOW, STRIDE)


def test_another_seed_makes_other_weights_and_leaves_the_global_generator_alone(tiny_texts: list[str]):
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    first, _ = make_scratch(tiny_texts, LABELS, SMALL, seed=1)
    assert torch.equal(torch.rand(3), expected)
    second, _ = make_scratch(tiny_texts, LABELS, SMALL, seed=2)
    assert not torch.equal(first.classifier.weight, second.classifier.weight)


def test_no_word_of_a_few_patients_enters_the_vocabulary(tiny_texts: list[str]):
    secret = "zwyxkqwj"
    texts = [*tiny_texts, *[f"mama {secret} nódulo"] * 40]
    patients = [f"p{i}" for i in range(len(tiny_texts))]
    four = patients + [f"q{i % 4}" for i in range(40)]
    five = patients + [f"q{i % 5}" for i in range(40)]
    _, guarded = make_scratch(texts, LABELS, SMALL, 1, patients=four)
    _, shared = make_scratch(texts, LABELS, SMALL, 1, patients=five)
    pieces = {piece.strip("#") for piece in guarded.get_vocab()}
    assert not [piece for piece in pieces if len(piece) > 1 and piece in secret]
    assert secret in shared.get_vocab()


def test_no_ordinary_word_is_unknown_and_accents_and_case_make_no_difference(tiny: Callable[[], Network]):
    _, tokenizer = tiny()
    assert (
        tokenizer.unk_token_id not in tokenizer("Xilofone 12,5 mm (3/4); ÇÃO, q.s.p. 50% ≥"[:-1])["input_ids"]
    )
    assert tokenizer("NÓDULO não") == tokenizer("nodulo nao")


def test_texts_that_share_no_word_are_refused():
    with pytest.raises(UnfitData, match="no word occurs in reports of 5 patients"):
        make_scratch(["um", "dois"], LABELS, SMALL, 1)


def test_a_width_the_heads_cannot_share_is_refused(tiny_texts: list[str]):
    with pytest.raises(UnfitEncoder, match="no multiple of attention_heads"):
        make_scratch(tiny_texts, LABELS, EncoderSpec(hidden_size=33), 1)


def test_sentences_read_by_themselves_without_attention_over_them_are_refused(tiny_texts: list[str]):
    with pytest.raises(UnfitEncoder, match="need attention"):
        make_scratch(tiny_texts, LABELS, EncoderSpec(sentences=True), 1)


def test_any_family_loads_from_a_folder_and_reads_the_same(
    network: Network, tiny_texts: list[str], tmp_path: Path
):
    texts = tiny_texts[:5]
    before = encode(*network, texts, window_tokens=WINDOW, stride_tokens=STRIDE).vectors
    save(network, tmp_path)
    attention = attention_of(network[0]) is not None
    loaded = load_encoder(EncoderSpec("folder", str(tmp_path), attention=attention), LABELS, seed=1)
    after = encode(*loaded, texts, window_tokens=WINDOW, stride_tokens=STRIDE).vectors
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert encoder_sha(*loaded, WINDOW, STRIDE) == encoder_sha(*network, WINDOW, STRIDE)


def test_a_fresh_head_is_drawn_from_the_seed_for_however_many_labels(
    tiny: Callable[[], Network], tmp_path: Path
):
    save(tiny(), tmp_path)
    three = ("a", "b", "c")
    first, second = (load_encoder(EncoderSpec("folder", str(tmp_path)), three, seed=7)[0] for _ in range(2))
    assert first.classifier.weight.shape == (3, 32)
    assert torch.equal(first.classifier.weight, second.classifier.weight)
    assert first.config.id2label == dict(enumerate(three))


def test_a_decoder_without_padding_token_gets_one(tiny_texts: list[str], tmp_path: Path):
    model, tokenizer = bare_network("gpt2", tiny_texts)
    assert tokenizer.pad_token is None
    save((model, tokenizer), tmp_path)
    model, tokenizer = load_encoder(EncoderSpec("folder", str(tmp_path)), LABELS)
    assert tokenizer.pad_token_id == model.config.pad_token_id == tokenizer.eos_token_id


Weights = dict[str, torch.Tensor]


def altered(folder: Path, change: Callable[[Weights], Weights]) -> str:
    """The folder, its weights changed."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return str(folder)


def configured(folder: Path, **changes: Any) -> str:
    """The folder, its config.json changed."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return str(folder)


@pytest.mark.parametrize(
    ("unfit", "told"),
    [
        (
            lambda folder: altered(folder, lambda of: {k: v for k, v in of.items() if ".layer.1." not in k}),
            r"16 of the 37 weights .*\(bert\.encoder\.layer\.1\.attention.*drawn at random",
        ),
        (
            lambda folder: altered(folder, lambda of: {f"0.auto_model.{k}": v for k, v in of.items()}),
            r"37 of the 37 weights .*\(bert\.embeddings\.word_embeddings\.weight, ",
        ),
        (
            lambda folder: configured(folder, vocab_size=999),
            r"1 of the 37 weights .*\(bert\.embeddings\.word_embeddings\.weight\)",
        ),
        (lambda folder: configured(folder, hidden_size=64), r"of the 37 weights .*of another shape"),
        (lambda folder: configured(folder, num_hidden_layers=3), r"16 of the 53 weights .*layer\.2\."),
    ],
    ids=["a layer is not there", "other names", "another vocabulary", "another width", "one layer more"],
)
def test_weights_that_do_not_fit_their_configuration_are_refused_and_not_drawn_at_random(
    tiny: Callable[[], Network], tmp_path: Path, unfit: Callable[[Path], str], told: str
):
    folder = unfit(save(tiny(), tmp_path))
    with pytest.raises(UnfitEncoder, match=told):
        load_encoder(EncoderSpec("folder", folder), LABELS)
    with pytest.raises(UnfitEncoder, match=told):  # as fetched and imported
        load_classifier(folder, local_files_only=True, ignore_mismatched_sizes=True)


def test_a_tokenizer_with_more_ids_than_the_network_has_embeddings_is_refused(
    tiny: Callable[[], Network], tmp_path: Path
):
    model, tokenizer = tiny()
    tokenizer.add_tokens(["pleomorfismo"])
    folder = str(save((model, tokenizer), tmp_path))
    with pytest.raises(UnfitEncoder, match=r"tokenizer gives ids up to (\d+), .* embeddings for \1 tokens"):
        load_encoder(EncoderSpec("folder", folder), LABELS)


def test_weights_that_are_no_numbers_are_refused(tiny: Callable[[], Network], tmp_path: Path):
    model, tokenizer = tiny()
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight[0, 0] = torch.nan
        model.bert.pooler.dense.bias[3] = -torch.inf
    folder = str(save((model, tokenizer), tmp_path))
    with pytest.raises(
        UnfitEncoder, match=r"2 of its weights .*\(bert\.encoder\.layer\.1\.output\.dense\.weight, "
    ):
        load_encoder(EncoderSpec("folder", folder), LABELS)


@pytest.mark.parametrize(
    ("family", "layer"),
    [("bert", "bert.pooler.dense"), ("roberta", "classifier.dense"), ("distilbert", "pre_classifier")],
)
def test_a_frozen_layer_that_the_encoder_came_without_is_told(
    family: str, layer: str, tiny: Callable[[], Network], tiny_texts: list[str], tmp_path: Path
):
    folder = str(save(tiny() if family == "bert" else bare_network(family, tiny_texts), tmp_path))
    whole, notes = load_frozen(EncoderSpec("folder", folder), LABELS)
    assert notes == ()
    altered(tmp_path, lambda of: {k: v for k, v in of.items() if not k.startswith(layer)})
    (model, _), [note] = load_frozen(EncoderSpec("folder", folder), LABELS)
    assert f"({layer})" in note
    kept = {name: tensor for name, tensor in whole[0].state_dict().items() if not name.startswith(layer)}
    for name, tensor in model.state_dict().items():
        assert name not in kept or torch.equal(tensor, kept[name])
    assert load_frozen(EncoderSpec("folder", folder, attention=True), LABELS)[1] == ()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "sub/weights.pt", "scaler.pkl"])
def test_a_folder_with_pickles_is_refused_with_a_way_out(
    tiny: Callable[[], Network], tmp_path: Path, name: str
):
    save(tiny(), tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UnfitEncoder, match=rf"{name}.*delete them.*save_pretrained"):
        load_encoder(EncoderSpec("folder", str(tmp_path)), LABELS)


def test_remote_code_is_never_run(tiny: Callable[[], Network], tmp_path: Path):
    save(tiny(), tmp_path)
    proof = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(proof)!r}, 'w')\n")
    (tmp_path / "config.json").write_text(
        '{"model_type": "evil",'
        ' "auto_map": {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M"}}'
    )
    with pytest.raises(UnfitEncoder, match="no remote code"):
        load_encoder(EncoderSpec("folder", str(tmp_path)), LABELS)
    assert not proof.exists()


@pytest.mark.parametrize("revision", [None, "main", "abc123", "A" * 40])
def test_a_hub_name_needs_its_whole_revision(revision: str | None):
    with pytest.raises(UnfitEncoder, match="40 hex digits"):
        load_encoder(EncoderSpec("hub", "somebody/some-model", revision), LABELS)


def test_a_hub_model_that_cannot_be_reached_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnfitEncoder, match="the network or a filled cache"):
        load_encoder(EncoderSpec("hub", "somebody/some-model-that-is-not", "0" * 40), LABELS)


def test_a_folder_that_is_not_there_and_a_missing_name_are_refused(tmp_path: Path):
    with pytest.raises(UnfitEncoder, match="is no folder"):
        load_encoder(EncoderSpec("folder", str(tmp_path / "nowhere")), LABELS)
    with pytest.raises(UnfitEncoder, match="needs a name"):
        load_encoder(EncoderSpec("folder"), LABELS)


def test_positions_are_known_for_every_family_and_longer_windows_refused(network: Network):
    model, _ = network
    assert positions(model) == WINDOW
    check_window(model, WINDOW)
    with pytest.raises(UnfitEncoder, match=f"set window_tokens to {WINDOW} or less"):
        check_window(model, WINDOW + 1)
