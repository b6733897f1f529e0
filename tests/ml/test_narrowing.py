"""A narrower student keeps the inner neurons that matter, whatever its family calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel

from tasks.ml.network import narrowing
from tasks.ml.network.layers import layer_stack
from tasks.ml.network.narrowing import narrow_config
from tasks.ml.training.distillation import student_of
from tests.ml.conftest import WINDOW, Network, bare_network
from tests.ml.test_distillation import deeper

INNER = {"bert": 128, "roberta": 64, "distilbert": 64, "modernbert": 64, "gpt2": 128}


def size(model: PreTrainedModel) -> int:
    return sum(weights.numel() for weights in model.parameters())


@pytest.mark.parametrize("family", sorted(INNER))
def test_neurons_that_add_nothing_are_the_ones_left_out(
    family: str, tiny: Callable[[], Network], tiny_texts: list[str], tmp_path: Path
) -> None:
    teacher, tokenizer = deeper(tiny() if family == "bert" else bare_network(family, tiny_texts), 3)
    batch = {"input_ids": tokenizer(tiny_texts[:1], return_tensors="pt")["input_ids"][:, :WINDOW]}
    inner = INNER[family]

    def apart() -> float:
        """How far half of the neurons are from all of them."""
        with torch.inference_mode():
            whole, half = (student_of(teacher, 2, share)(**batch).logits for share in (1.0, 0.5))
        return float((whole - half).abs().max())

    assert apart() > 1e-6, "where all of them matter, half of them answers otherwise"
    with torch.no_grad():
        for tensor in layer_stack(teacher)[1].parameters():
            for side in range(tensor.ndim if tensor.ndim == 2 else 0):
                if tensor.shape[side] == inner:
                    tensor.movedim(side, 0)[1::2] = 0
    assert apart() < 1e-6
    student = student_of(teacher, 2, 0.5)
    assert size(student) < size(student_of(teacher, 2))
    student.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        assert torch.allclose(loaded(**batch).logits, student(**batch).logits, atol=1e-6)


@pytest.mark.parametrize(("share", "left"), [(0.75, 72), (0.01, 8)])
def test_neurons_are_left_in_eights_and_never_none(share: float, left: int) -> None:
    config = BertConfig(intermediate_size=100)
    assert (narrow_config(config, share), config.intermediate_size) == (100, left)


def test_layers_whose_inner_neurons_are_not_known_stay_whole(
    tiny: Callable[[], Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tiny()[0]
    whole, half = (size(student_of(teacher, 1, share)) for share in (1.0, 0.5))
    assert whole > half
    monkeypatch.setattr(narrowing, "INNER", ())
    assert size(student_of(teacher, 1, 0.5)) == whole
