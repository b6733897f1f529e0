"""What gradients and attention say of a report's sentences: the contrasts of benchmarks/evidence.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.evidence import Span
from tasks.ml.features import encode, last_linear
from tasks.ml.head import head_of, softmax_of
from tasks.ml.windows import padded, window_starts, windows_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network whose head is folded in, and how it cuts reports into windows."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    window_tokens: int
    stride_tokens: int

    def read(self, texts: Sequence[str]) -> Floats:
        """Probabilities (texts, labels)."""
        vectors = encode(
            self.model,
            self.tokenizer,
            texts,
            window_tokens=self.window_tokens,
            stride_tokens=self.stride_tokens,
        ).vectors
        return softmax_of(*head_of(self.model), vectors)


@dataclass(frozen=True, eq=False)
class Cut:
    """A report in windows. `sentence`: (windows, tokens) the sentence each token stands in, -1 for none."""

    ids: torch.Tensor
    mask: torch.Tensor
    sentence: NDArray[np.int64]


def gradient_x_input(network: Network, text: str, spans: Sequence[Span], label: int) -> Floats:
    """(sentences,) the gradient of the label's log odds times the word embeddings, summed."""
    return _along(network, text, spans, label, [1.0])


def integrated_gradients(
    network: Network, text: str, spans: Sequence[Span], label: int, steps: int = 16
) -> Floats:
    """(sentences,) the same, the gradient averaged on the way from embeddings of zero (midpoint rule).

    Source: Sundararajan, Taly & Yan 2017, "Axiomatic attribution for deep networks".
    """
    return _along(network, text, spans, label, [(step + 0.5) / steps for step in range(steps)])


def attention(network: Network, text: str, spans: Sequence[Span], _label: int) -> Floats:
    """(sentences,) mean attention that a token of the sentence is given, over layers, heads and queries."""
    cut = cut_of(network, text, spans)
    with torch.no_grad():
        layers = network.model(input_ids=cut.ids, attention_mask=cut.mask, output_attentions=True).attentions
    asking = cut.mask[None, :, None, :, None]  # a padded token asks nothing
    given = (torch.stack(layers) * asking).sum(dim=(0, 2, 3)) / cut.mask.sum(dim=1, keepdim=True)
    tokens = np.bincount(cut.sentence[cut.sentence >= 0], minlength=len(spans))
    return _by_sentence(cut, given, len(spans)) / np.maximum(tokens, 1)


def _along(network: Network, text: str, spans: Sequence[Span], label: int, places: Sequence[float]) -> Floats:
    cut = cut_of(network, text, spans)
    words = network.model.get_input_embeddings()(cut.ids).detach()
    total = torch.zeros_like(words)
    for place in places:
        shown = (words * place).requires_grad_(True)
        odds = log_odds_from(network.model, shown, cut.mask, label)
        total += torch.autograd.grad(odds, shown)[0]
    return _by_sentence(cut, (words * total / len(places)).sum(dim=-1), len(spans))


def log_odds_from(
    model: PreTrainedModel, shown: torch.Tensor, mask: torch.Tensor, label: int
) -> torch.Tensor:
    """Of the label, from the mean over windows of what the head reads: as in tasks/ml/features.py."""
    _, head = last_linear(model)
    heard: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _module, inputs: heard.append(inputs[0]))
    try:
        model(inputs_embeds=shown, attention_mask=mask)
    finally:
        hook.remove()
    logits = head(heard[0].mean(dim=0))
    others = torch.arange(len(logits)) != label
    return logits[label] - torch.logsumexp(logits[others], dim=0)


def _by_sentence(cut: Cut, tokens: torch.Tensor, sentences: int) -> Floats:
    inside = cut.sentence >= 0
    weights = tokens.detach().double().numpy()[inside]
    return np.bincount(cut.sentence[inside], weights=weights, minlength=sentences).astype(np.float64)


def cut_of(network: Network, text: str, spans: Sequence[Span]) -> Cut:
    tokenizer = network.tokenizer
    windows = windows_of(tokenizer, [text], network.window_tokens, network.stride_tokens)
    ids, mask = padded(windows.ids, tokenizer.pad_token_id)
    told = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    begins = np.array([start for start, _ in told["offset_mapping"]], np.int64)
    number = np.searchsorted([span.start for span in spans], begins, side="right") - 1
    ends = np.array([span.end for span in spans])
    number = np.where((number >= 0) & (begins < ends[np.maximum(number, 0)]), number, -1)
    before = int(np.argmin(tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]))
    room = network.window_tokens - tokenizer.num_special_tokens_to_add()
    sentence = np.full(tuple(ids.shape), -1, np.int64)
    starts = window_starts(len(begins), room, network.stride_tokens)
    for window, start in enumerate(starts):
        part = number[start : start + room]
        sentence[window, before : before + len(part)] = part
    return Cut(ids, mask, sentence)
