"""Attention over a whole report: read in windows as if it were read at once, and learnt on whole reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from tasks.ml.errors import UnfitEncoder
from tasks.ml.network.attentive import Attention, attentive
from tasks.ml.network.encoder import EncoderSpec, able_to_pad, encoder_sha, load_classifier, load_encoder
from tasks.ml.network.features import encode, heard_by, last_linear
from tasks.ml.network.head import head_of
from tasks.ml.network.layers import layer_stack
from tasks.ml.reading.windows import padded, windows_of
from tasks.ml.training.distillation import (
    NO_LABEL,
    Recipe,
    distil,
    flops_per_token,
    softened,
    student_of,
    students_training,
)
from tasks.ml.training.training import BodyTraining, train_body
from tests.ml.conftest import LABELS, SHARED, STRIDE, WINDOW, Network, bare_network, choosy, deeper, save

CONFIG = BodyTraining(
    window_tokens=WINDOW,
    stride_tokens=STRIDE,
    epochs=16.0,
    learning_rate=2e-3,
    batch_windows=8,
    head_steps=5.0,
)


def hidden_in_noise(reports: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Reports of several windows, in which one word says the label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(reports) % 2
    texts = []
    for label in labels:
        words = rng.choice(SHARED, int(rng.integers(80, 140))).tolist()
        words.insert(int(rng.integers(len(words))), ("uniformes", "necrose")[label])
        texts.append(" ".join(words))
    return texts, labels


@pytest.fixture(scope="module")
def finder(tiny: Callable[[], Network], tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A network that finds the one word that says the label."""
    texts, labels = hidden_in_noise(64, seed=1)
    network = attentive(tiny()[0], seed=1), tiny()[1]
    train_body(*network, texts, labels, config=CONFIG, checkpoint_folder=tmp_path_factory.mktemp("a"), seed=1)
    return network


def test_windows_read_apart_give_what_the_whole_report_gives(
    tiny: Callable[[], Network], tiny_texts: list[str]
) -> None:
    model, tokenizer = choosy(tiny())
    texts = [" ".join(tiny_texts[:6]), tiny_texts[7], " ".join(tiny_texts[8:20])]
    windows = windows_of(tokenizer, texts, WINDOW, STRIDE)
    ids, mask = padded(windows.ids, tokenizer.pad_token_id)
    with torch.inference_mode():
        at_once = model(ids, mask, owner=torch.from_numpy(windows.owner)).logits.numpy()
        apart = encode(
            model, tokenizer, texts, window_tokens=WINDOW, stride_tokens=STRIDE, batch_tokens=WINDOW
        )
    weight, bias = head_of(model)
    np.testing.assert_allclose(apart.vectors @ weight.T + bias, at_once, atol=1e-5)
    plain = np.stack([apart.vectors[0] * 0 + _mean_of_windows(model, tokenizer, text) for text in texts])
    assert np.abs(plain - apart.vectors)[[0, 2]].max() > 1e-3  # windows do not weigh alike


def test_the_mean_of_tokens_that_are_alike_is_that_token_where_a_body_computes_in_bfloat16() -> None:
    torch.manual_seed(0)
    attention, states = Attention(8), torch.randn(1, 1, 8).expand(1, 333, 8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        read, weight = attention(states, torch.ones(1, 333, dtype=torch.long))
    assert (read.dtype, weight.dtype) == (torch.float32, torch.float32)
    np.testing.assert_allclose(read[0].numpy(), states[0, 0].numpy(), rtol=1e-4)


def _mean_of_windows(model, tokenizer, text: str) -> np.ndarray:
    ids, mask = padded(windows_of(tokenizer, [text], WINDOW, STRIDE).ids, tokenizer.pad_token_id)
    with torch.inference_mode(), heard_by(model) as heard:
        model(ids, mask)
    return heard[0].vectors.mean(dim=0).numpy()


def test_before_it_has_learnt_every_token_weighs_alike(
    tiny: Callable[[], Network], tiny_texts: list[str]
) -> None:
    model, tokenizer = tiny()
    ids, mask = padded(windows_of(tokenizer, tiny_texts[:3], WINDOW, STRIDE).ids, tokenizer.pad_token_id)
    with torch.inference_mode():
        states = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        made = attentive(model, seed=1)
        with heard_by(made) as heard:
            made(ids, mask)
    mean = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    np.testing.assert_allclose(heard[0].vectors.numpy(), mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(heard[0].weights.numpy(), mask.sum(dim=1).numpy(), atol=1e-4)


def test_one_word_in_a_report_of_many_windows_is_found(
    finder: Network, tiny: Callable[[], Network], tmp_path: Path
) -> None:
    texts, labels = hidden_in_noise(64, seed=1)
    unseen, truth = hidden_in_noise(40, seed=2)
    right = {}
    plain = tiny()
    train_body(*plain, texts, labels, config=CONFIG, checkpoint_folder=tmp_path, seed=1)
    for name, network in (("attention", finder), ("first token", plain)):
        read = encode(*network, unseen, window_tokens=WINDOW, stride_tokens=STRIDE)
        weight, bias = head_of(network[0])
        right[name] = float(((read.vectors @ weight.T + bias).argmax(axis=1) == truth).mean())
    assert read.windows.min() > 1
    assert right["attention"] > 0.95
    assert right["first token"] < right["attention"]


def test_an_interrupted_training_on_whole_reports_ends_in_the_same_weights(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    texts, labels = hidden_in_noise(16, seed=1)
    config = BodyTraining(
        window_tokens=WINDOW, stride_tokens=STRIDE, epochs=3.0, batch_windows=4, head_steps=5.0,
        checkpoint_every_steps=5,
    )  # fmt: skip

    def trained(folder: Path, stop_at: int | None) -> Network:
        network = attentive(tiny()[0], seed=1), tiny()[1]

        def stop(step: int, _steps: int) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        train_body(*network, texts, labels, config=config, checkpoint_folder=folder, seed=1, progress=stop)
        return network

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "a", 7)
    resumed, whole = (
        trained(tmp_path / "a", None)[0].state_dict(),
        trained(tmp_path / "b", None)[0].state_dict(),
    )
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_saved_network_is_read_again_as_it_was(tiny: Callable[[], Network], tmp_path: Path) -> None:
    network = choosy(tiny())
    again = load_classifier(str(save(network, tmp_path)))
    assert encoder_sha(*again, WINDOW, STRIDE) == encoder_sha(*network, WINDOW, STRIDE)
    with torch.no_grad():
        again[0].attention.score.bias += 1.0
    assert encoder_sha(*again, WINDOW, STRIDE) != encoder_sha(*network, WINDOW, STRIDE)


def test_no_other_program_reads_it_with_a_head_that_was_never_trained(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    model, _ = choosy(tiny())
    assert model.config.model_type not in CONFIG_MAPPING_NAMES
    assert last_linear(model)[1] is model.classifier
    assert len(LABELS) == model.config.num_labels


@pytest.mark.parametrize("family", ["bert", "modernbert", "gpt2"])
def test_a_student_has_its_teachers_attention_and_half_of_the_layers_below(
    family: str, tiny: Callable[[], Network], tiny_texts: list[str], tmp_path: Path
) -> None:
    below = deeper(tiny() if family == "bert" else bare_network(family, tiny_texts), 4)
    able_to_pad(*below)
    teacher, tokenizer = choosy(below)
    student = student_of(teacher)
    theirs, ours = layer_stack(teacher)[1], layer_stack(student)[1]
    for place, layer in enumerate([0, 2]):
        kept = theirs[layer].state_dict()
        assert all(torch.equal(kept[key], tensor) for key, tensor in ours[place].state_dict().items())
    for part in ("attention", "classifier"):
        kept = getattr(teacher, part).state_dict()
        assert all(torch.equal(kept[key], one) for key, one in getattr(student, part).state_dict().items())
    narrow = student_of(teacher, 2, inner_share=0.5), tokenizer
    again = load_classifier(str(save(narrow, tmp_path)))
    assert encoder_sha(*again, WINDOW, STRIDE) == encoder_sha(*narrow, WINDOW, STRIDE)
    whole, half, less = (flops_per_token(model, WINDOW) for model in (teacher, student, narrow[0]))
    assert half < 0.52 * whole
    assert less < 0.8 * half


def test_a_student_is_led_by_whole_reports_and_goes_on_to_the_bit_where_it_was_interrupted(
    finder: Network, tmp_path: Path
) -> None:
    teacher, tokenizer = finder
    texts, _ = hidden_in_noise(24, seed=3)
    nobody = np.full(len(texts), NO_LABEL)  # all that it learns is the teacher's
    config = replace(students_training(CONFIG), epochs=3.0, batch_windows=4, checkpoint_every_steps=5)
    asked: list[int] = []

    def led(folder: str, stop_at: int | None = None) -> PreTrainedModel:
        def stop(step: int, _steps: int) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        student = student_of(teacher)
        with student.register_forward_pre_hook(
            lambda _module, _inputs, given: asked.append(len(given["owner"])), with_kwargs=True
        ):
            distil(
                teacher, student, tokenizer, texts, nobody, recipe=Recipe(), config=config,
                checkpoint_folder=tmp_path / folder, seed=1, progress=stop,
            )  # fmt: skip
        return student

    student = led("whole")
    assert min(asked) > config.batch_windows  # windows: a batch is of whole reports
    with pytest.raises(KeyboardInterrupt):
        led("cut", stop_at=7)
    resumed = led("cut").state_dict()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in student.state_dict().items())

    windows = windows_of(tokenizer, hidden_in_noise(20, seed=2)[0], WINDOW, STRIDE)
    ids, mask = padded(windows.ids, tokenizer.pad_token_id)
    with torch.inference_mode():
        shown, found, untaught = (
            model(ids, mask, owner=torch.from_numpy(windows.owner)).logits
            for model in (teacher, student, student_of(teacher))
        )
    assert softened(found, shown, 1.0) < 0.5 * softened(untaught, shown, 1.0)


def test_a_folder_with_attention_is_not_read_as_if_it_had_none(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    save(choosy(tiny()), tmp_path)
    with pytest.raises(UnfitEncoder, match='set pooling = "attention"'):
        load_encoder(EncoderSpec("folder", str(tmp_path)), LABELS)
    model, _ = load_encoder(EncoderSpec("folder", str(tmp_path), attention=True), LABELS)
    assert model.attention.score.weight.abs().sum() > 0  # what it has learnt stays
