"""Attention in one kernel while a network is trained, which is there only without dropout of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

FUSED = "sdpa_without_dropout"


@contextmanager
def fused_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block no weight of attention is dropped; what passes between the layers still is.

    With dropout, torch on a processor computes attention as a row of matrices of (heads, tokens, tokens), all
    in memory: most of a step's time, and half of its memory (`benchmarks.stock_trainer`). A network whose
    attention is not torch's own (`sdpa`) is left as it is.
    """
    AttentionInterface.register(FUSED, _without_dropout)
    AttentionMaskInterface.register(FUSED, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    configs = {id(part.config): part.config for part in parts}.values()
    changed = [config for config in configs if config._attn_implementation == "sdpa"]
    for config in changed:
        config._attn_implementation = FUSED
    try:
        yield
    finally:
        for config in changed:
            config._attn_implementation = "sdpa"


def _without_dropout(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **how: Any,
) -> tuple[torch.Tensor, None]:
    how["dropout"] = 0.0
    read, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **how)
    return read, None
