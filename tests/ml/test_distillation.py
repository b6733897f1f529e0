"""A student is half of its teacher, and learns to answer as it does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from tasks.ml.errors import UnfitEncoder
from tasks.ml.judging.comparison import beside, share_kept
from tasks.ml.network.layers import layer_stack
from tasks.ml.training.distillation import (
    NO_LABEL,
    Recipe,
    Saved,
    distil,
    flops_per_token,
    mistaken,
    softened,
    student_of,
    turned,
)
from tasks.ml.training.training import BodyTraining, train_body
from tests.ml.conftest import STRIDE, WINDOW, Network, bare_network, deeper, written

CONFIG = BodyTraining(WINDOW, STRIDE, epochs=2, learning_rate=2e-3, batch_windows=8, checkpoint_every_steps=4)

RECIPE = Recipe()


@pytest.fixture(scope="module")
def taught(tiny: Callable[[], Network]) -> Network:
    """A teacher of two layers with decided answers of its own, which no labels tell."""
    model, tokenizer = tiny()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(16)  # as drawn, a layer hardly changes what it is given
    return model, tokenizer


def told(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    return written(n, seed, words=(4, 10))


def read(network: Network, texts: list[str]) -> dict[str, torch.Tensor]:
    _model, tokenizer = network
    return tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=WINDOW)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "gpt2"])
def test_a_student_is_its_teacher_with_every_second_layer_left_out(
    family: str, tiny: Callable[[], Network], tiny_texts: list[str], tmp_path: Path
) -> None:
    teacher, tokenizer = deeper(tiny() if family == "bert" else bare_network(family, tiny_texts), 5)
    student = student_of(teacher, 3)
    theirs, ours = layer_stack(teacher)[1], layer_stack(student)[1]
    for place, layer in enumerate([0, 1, 3]):
        kept = theirs[layer].state_dict()
        assert all(torch.equal(kept[key], tensor) for key, tensor in ours[place].state_dict().items())
    batch = {"input_ids": tokenizer(tiny_texts[:1], return_tensors="pt")["input_ids"][:, :WINDOW]}
    with torch.inference_mode():
        shown, found = (model(**batch, output_hidden_states=True) for model in (teacher, student))
        # what enters the first layer is the same, and so is what leaves it
        assert torch.equal(shown.hidden_states[0], found.hidden_states[0])
        assert torch.equal(shown.hidden_states[1], found.hidden_states[1])
        assert not torch.equal(shown.hidden_states[2], found.hidden_states[3])
        student.save_pretrained(tmp_path)
        loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        assert torch.allclose(loaded(**batch).logits, found.logits, atol=1e-6)


def test_half_of_the_layers_is_the_default_and_too_few_are_refused(
    taught: Network, tiny_texts: list[str]
) -> None:
    assert len(layer_stack(student_of(taught[0]))[1]) == 1
    with pytest.raises(UnfitEncoder, match="1 to 1 layers, not 2"):
        student_of(taught[0], 2)
    with pytest.raises(UnfitEncoder, match="has 1 layer: there is none to leave out"):
        student_of(bare_network("roberta", tiny_texts)[0])


def test_a_network_whose_layers_cannot_be_found_is_refused(taught: Network) -> None:
    shared = copy.deepcopy(taught[0])
    shared.config.num_hidden_layers = 7  # as where one layer is used again and again (ALBERT)
    with pytest.raises(UnfitEncoder, match="has 0 lists of 7 layers"):
        student_of(shared)


def test_losses_are_nothing_where_there_is_nothing_to_learn() -> None:
    rng = torch.Generator().manual_seed(1)
    logits, other = torch.randn(2, 4, 3, generator=rng)
    states = torch.randn(4, 6, 8, generator=rng)
    mask = torch.tensor([[1] * 4 + [0] * 2] * 4)
    padding_changed = torch.where(mask[..., None] == 1, 3 * states, -states)
    assert softened(logits, logits, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert softened(other, logits, 2.0).item() > 0.1
    assert turned(padding_changed, states, mask).item() == pytest.approx(0, abs=1e-6)
    assert turned(-states, states, mask).item() == pytest.approx(2, abs=1e-6)
    none = torch.full((4,), NO_LABEL)
    assert mistaken(logits, none).item() == 0
    one = torch.tensor([NO_LABEL, 2, NO_LABEL, NO_LABEL])
    assert mistaken(logits, one).item() == pytest.approx(-logits[1].log_softmax(0)[2].item())


def test_a_teacher_brings_a_student_nearer_to_itself_than_labels_do(taught: Network, tmp_path: Path) -> None:
    teacher, tokenizer = taught
    texts, labels = told(80, seed=1)
    more, _ = told(80, seed=8)
    alone, led = student_of(teacher), student_of(teacher)
    train_body(alone, tokenizer, texts, labels, config=CONFIG, checkpoint_folder=tmp_path / "alone", seed=5)
    distil(
        teacher, led, tokenizer, texts + more, np.append(labels, [NO_LABEL] * len(more)),
        recipe=RECIPE, config=CONFIG, checkpoint_folder=tmp_path / "led", seed=5,
    )  # fmt: skip
    batch = read(taught, told(40, seed=9)[0])
    with torch.inference_mode():
        shown = teacher(**batch).logits
        apart = {name: softened(model(**batch).logits, shown, 1.0).item() for name, model in
                 (("alone", alone), ("led", led), ("untrained", student_of(teacher)))}  # fmt: skip
    assert apart["led"] < 0.5 * min(apart["alone"], apart["untrained"])


class Killed(Exception):
    pass


def test_a_distillation_goes_on_where_it_stopped_and_only_with_its_own_recipe(
    taught: Network, tmp_path: Path
) -> None:
    teacher, tokenizer = taught
    texts, labels = told(32, seed=1)

    def run(folder: str, stop_at: int | None = None, recipe: Recipe = RECIPE) -> tuple[bytes, int]:
        def progress(done: int, _steps: int) -> None:
            if done == stop_at:
                raise Killed

        student = student_of(teacher)
        log = distil(
            teacher, student, tokenizer, texts, labels,
            recipe=recipe, config=CONFIG, checkpoint_folder=tmp_path / folder, seed=5, progress=progress,
        )  # fmt: skip
        weights = b"".join(tensor.numpy().tobytes() for tensor in student.state_dict().values())
        return weights, log.resumed_from_step

    whole, _ = run("whole")
    with pytest.raises(Killed):
        run("cut", stop_at=7)
    assert run("cut") == (whole, 4)
    # the same steps under another recipe are another training
    assert run("cut", recipe=replace(RECIPE, temperature=3.0))[1] == 0


def test_half_of_the_layers_is_half_of_the_operations(taught: Network) -> None:
    teacher, tokenizer = taught
    student = student_of(teacher)
    hidden, feed = 32, 128
    layer = 2 * (4 * hidden * hidden + 2 * hidden * feed) + 4 * hidden * WINDOW
    after = 2 * (hidden * hidden + hidden * 2) / WINDOW
    assert flops_per_token(teacher, WINDOW) == pytest.approx(2 * layer + after)
    saved = Saved.by(
        student, teacher, tokenizer, written(8, seed=2)[0], window_tokens=WINDOW, stride_tokens=STRIDE
    )
    assert saved.flops_share == pytest.approx((layer + after) / (2 * layer + after))
    assert saved.time_share > 0


def test_what_is_kept_is_a_share_of_the_teachers_macro_f1_on_the_same_patients() -> None:
    truth = np.arange(60) % 2
    patients = [str(number // 2) for number in range(60)]
    teacher = np.where(np.eye(2)[truth] == 1, 0.9, 0.1)
    same = beside(teacher, teacher, truth, patients, 2, 1, share_kept)
    assert (same.figure, same.low, same.high) == (1, 1, 1)
    worse = teacher.copy()
    worse[:12] = worse[:12, ::-1]
    found = beside(worse, teacher, truth, patients, 2, 1, share_kept)
    assert (found.f1_macro, found.other_f1_macro) == (pytest.approx(0.8), 1)
    assert found.figure == pytest.approx(0.8)
    assert found.low is not None
    assert found.high is not None
    assert 0.6 < found.low < 0.8 < found.high < 1
