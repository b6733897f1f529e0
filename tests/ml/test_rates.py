"""Layers below learn in smaller steps, whatever the family; what begins from nothing in larger ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tasks.ml.network.features import last_linear
from tasks.ml.network.layers import layer_stack
from tasks.ml.training.body_training import BodyTraining
from tasks.ml.training.rates import rates_of, set_rates
from tasks.ml.training.training import train_body
from tests.ml.conftest import STRIDE, WINDOW, Network, written

CONFIG = BodyTraining(WINDOW, STRIDE, epochs=1, learning_rate=1e-3, batch_windows=8, layer_decay=0.5)


def test_every_layer_learns_in_smaller_steps_than_the_one_above_it(network: Network) -> None:
    model, _ = network
    rates = rates_of(model, replace(CONFIG, head_steps=5.0))
    stack, layers = layer_stack(model)
    first = next(iter(rates))
    assert rates[first] == 0.5 ** (len(layers) + 1)  # what looks words up
    for at in range(len(layers)):
        found = {rate for name, rate in rates.items() if name.startswith(f"{stack}.{at}.")}
        assert found == {0.5 ** (len(layers) - at)}
    head = {id(weights) for weights in last_linear(model)[1].parameters()}
    assert {rates[name] for name, weights in model.named_parameters() if id(weights) in head} == {5.0}


def test_an_optimizer_steps_at_these_rates_and_forgets_no_weight(tiny: Callable[[], Network]) -> None:
    model, _ = tiny()
    rates = rates_of(model, CONFIG)
    parts = [list(model.parameters())[::2], list(model.parameters())[1::2]]
    groups = [{"params": part, "weight_decay": decay} for part, decay in zip(parts, (0.01, 0.0), strict=True)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    set_rates(optimizer, model, rates)
    found = {
        id(weights): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weights in group["params"]
    }
    decays = {id(weights): decay for part, decay in zip(parts, (0.01, 0.0), strict=True) for weights in part}
    assert found == {
        id(weights): (pytest.approx(1e-3 * rates[name]), decays[id(weights)])
        for name, weights in model.named_parameters()
    }


def test_with_decay_what_lies_below_moves_less_and_the_head_as_far(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    moved = {}
    for decay in (1.0, 0.1):
        model, tokenizer = tiny()
        layer, head = model.bert.encoder.layer[0].output.dense.weight, model.classifier.weight
        before = layer.detach().clone(), head.detach().clone()
        train_body(
            model, tokenizer, *written(32, 1),
            config=replace(CONFIG, layer_decay=decay), checkpoint_folder=tmp_path / str(decay), seed=1,
        )  # fmt: skip
        moved[decay] = [
            float((now.detach() - then).abs().mean()) for now, then in zip((layer, head), before, strict=True)
        ]
    assert moved[0.1][0] < moved[1.0][0] / 20
    assert moved[0.1][1] > moved[1.0][1] / 2
