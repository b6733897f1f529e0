"""Learning rates within a network: smaller below, larger for what begins from nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from tasks.ml.network.attentive import attention_of
from tasks.ml.network.features import last_linear
from tasks.ml.network.layers import layer_stack
from tasks.ml.training.body_training import BodyTraining


def rates_of(model: PreTrainedModel, config: BodyTraining) -> dict[str, float]:
    """Name of each weight -> its learning rate, in those of the training.

    Of n layers, what comes after them has 1, layer i (0 the lowest) layer_decay ** (n - i), and what comes
    before them layer_decay ** (n + 1): Clark et al. 2020, "ELECTRA"; Zhang et al. 2021, "Revisiting
    few-sample BERT fine-tuning". Head and attention, which no pre-training made, have head_steps. Raises
    UnfitEncoder where layers decay and there is no single list of them.
    """
    rates = {name: 1.0 for name, _ in model.named_parameters()}
    if config.layer_decay != 1.0:
        rates |= _decayed(model, config.layer_decay)
    if config.head_steps != 1.0:
        ahead = {id(weights) for weights in _beginners(model)}
        rates |= {name: config.head_steps for name, one in model.named_parameters() if id(one) in ahead}
    return rates


def _beginners(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The weights that no pre-training made: the head's, and the attention's."""
    attention = attention_of(model)
    return [*last_linear(model)[1].parameters(), *(attention.parameters() if attention is not None else ())]


def _decayed(model: PreTrainedModel, decay: float) -> dict[str, float]:
    stack, layers = layer_stack(model)
    rates, rate = {}, decay ** (len(layers) + 1)
    # weights are listed in the order in which a text passes them
    for name, _ in model.named_parameters():
        if name.startswith(f"{stack}."):
            layer = int(name.removeprefix(f"{stack}.").partition(".")[0])
            rates[name], rate = decay ** (len(layers) - layer), 1.0
        else:
            rates[name] = rate
    return rates


def set_rates(optimizer: torch.optim.Optimizer, model: PreTrainedModel, rates: Mapping[str, float]) -> None:
    """Part the optimizer's groups so that each weight learns at its rate; those at 1 stay where they are."""
    times = {id(weights): rates[name] for name, weights in model.named_parameters()}
    for group in list(optimizer.param_groups):
        others = sorted({times[id(weights)] for weights in group["params"]} - {1.0})
        parts = {rate: [one for one in group["params"] if times[id(one)] == rate] for rate in others}
        group["params"] = [weights for weights in group["params"] if times[id(weights)] == 1.0]
        for rate, weights in parts.items():
            optimizer.add_param_group({**group, "params": weights, "lr": rate * group["lr"]})
