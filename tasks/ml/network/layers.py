"""The layers of a network: where they are, and how to train the last ones alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

from tasks.ml.errors import UnfitEncoder


def layer_stack(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Name and module of the list of all layers. Raises UnfitEncoder where there is no single one."""
    config = getattr(model.config, "body", model.config)  # under attention: of the network below
    layers = getattr(config, "num_hidden_layers", None)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers
    ]
    if len(found) != 1:
        raise UnfitEncoder(
            f"{type(model).__name__} has {len(found)} lists of {layers} layers, and one is needed; "
            "use a BERT, RoBERTa, DistilBERT, XLM-R or ModernBERT"
        )
    return found[0]


@contextmanager
def only_last_trained(model: PreTrainedModel, layers: int | None) -> Iterator[None]:
    """Inside the block only so many last layers, and what comes after them, learn; None: every weight.

    Embeddings and the layers below keep their weights, and no gradient is computed for them. Raises
    UnfitEncoder where the layers cannot be found.
    """
    held: list[nn.Parameter] = []
    if layers is not None:
        name, stack = layer_stack(model)
        first = f"{name}.{max(0, len(stack) - layers)}."
        # weights are listed in the order in which a text passes them
        for at, weights in model.named_parameters():
            if at.startswith(first):
                break
            if weights.requires_grad:
                held.append(weights.requires_grad_(False))
    try:
        yield
    finally:
        for weights in held:
            weights.requires_grad_(True)
