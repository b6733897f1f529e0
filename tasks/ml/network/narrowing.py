"""A network whose layers have fewer inner neurons: those are kept that weigh most.

Two thirds of a layer's multiplications are in its inner neurons (the feed-forward part), and many of them do
little: what one of them adds is at most its weights in times its weights out, so those of the largest product
are kept (magnitude pruning of whole neurons: Han et al. 2015, "Learning both weights and connections for
efficient neural networks"; Li et al. 2017, "Pruning filters for efficient convnets").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from transformers import PretrainedConfig

# BERT, RoBERTa, XLM-R and ModernBERT; DistilBERT; GPT-2
INNER = ("intermediate_size", "hidden_dim", "n_inner")
MULTIPLE = 8  # what a processor multiplies at once, and some more

Weights = dict[str, torch.Tensor]


def narrow_config(config: PretrainedConfig, share: float) -> int | None:
    """Write `share` of the inner neurons a layer, to a multiple of 8, into `config`; how many there were.

    None, and nothing written, where all are wanted or the configuration names none.
    """
    name = next((name for name in INNER if hasattr(config, name)), None)
    if name is None or share >= 1:
        return None
    before = int(getattr(config, name) or 4 * config.hidden_size)  # GPT-2 says None for four times its width
    setattr(config, name, max(MULTIPLE, round(share * before / MULTIPLE) * MULTIPLE))
    return before


def narrowed(weights: Weights, shapes: Mapping[str, torch.Tensor], stack: str, inner: int) -> Weights:
    """`weights` cut to the shapes of the same names in `shapes`: in a layer the same neurons in every tensor.

    `stack`: the name of the list of layers; `inner`: neurons a layer in `weights`. A tensor that holds them
    twice (ModernBERT's gate) loses them twice. Raises ValueError where something else than they is missing.
    """
    layers: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)  # layer -> tensor, side to cut
    for key, tensor in weights.items():
        for side, (before, after) in enumerate(zip(tensor.shape, shapes[key].shape, strict=True)):
            if before == after:
                continue
            if not key.startswith(f"{stack}.") or before % inner:
                raise ValueError("a network with fewer inner neurons lacks something else")
            layers[key.removeprefix(f"{stack}.").partition(".")[0]].append((key, side))
    cut = dict(weights)
    for sides in layers.values():
        left = shapes[sides[0][0]].shape[sides[0][1]] * inner // weights[sides[0][0]].shape[sides[0][1]]
        kept = _weightiest([weights[key].movedim(side, 0) for key, side in sides], inner, left)
        for key, side in sides:
            times = weights[key].shape[side] // inner
            places = torch.cat([kept + inner * number for number in range(times)])
            cut[key] = weights[key].index_select(side, places)
    return cut


def _weightiest(tensors: list[torch.Tensor], inner: int, left: int) -> torch.Tensor:
    """(left,) places, in order. `tensors`: neurons first; their biases are not asked."""
    weight = torch.ones(inner, dtype=torch.float64, device=tensors[0].device)
    for tensor in tensors:
        if tensor.ndim > 1:
            weight *= tensor.double().reshape(-1, inner, tensor.shape[1]).norm(dim=(0, 2))
    return weight.topk(left).indices.sort().values
