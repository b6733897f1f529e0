"""Other ways of naming the sentences that carried an answer: the contrasts of benchmarks/evidence.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import logsumexp

from tasks.ml.arrays import Floats
from tasks.ml.network.evidence import Network, Span, contributions
from tasks.ml.network.features import encode
from tasks.ml.network.head import head_of, softmax_of
from tasks.ml.reading.windows import padded, places_in, windows_of


def read(network: Network, texts: Sequence[str]) -> Floats:
    """Probabilities (texts, labels)."""
    vectors = encode(
        network.model,
        network.tokenizer,
        texts,
        window_tokens=network.window_tokens,
        stride_tokens=network.stride_tokens,
        long_reports=network.long_reports,
    ).vectors
    return softmax_of(*head_of(network.model), vectors)


def occlusion(network: Network, text: str, spans: Sequence[Span], label: int) -> Floats:
    """(sentences,) how far the label's log odds fall without each; all variants are read in one call.

    Source: Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", over sentences.
    """
    odds = log_odds(read(network, [text, *(without(text, [span]) for span in spans)]), label)
    return odds[0] - odds[1:]


def gradient_x_input(network: Network, text: str, spans: Sequence[Span], label: int) -> Floats:
    """(sentences,) the gradient of the label's log odds at the report, times the word embeddings."""
    return contributions(network, text, spans, label, [1.0])


def attention(network: Network, text: str, spans: Sequence[Span], _label: int) -> Floats:
    """(sentences,) mean attention that a token of the sentence is given, over layers, heads and queries."""
    cut = network.window_tokens, network.stride_tokens, network.long_reports.conclusions
    windows = windows_of(network.tokenizer, [text], *cut)
    ids, mask = padded(windows.ids, network.tokenizer.pad_token_id)
    with torch.no_grad():
        layers = network.model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
    asking = mask[None, :, None, :, None]  # a padded token asks nothing
    given = (
        ((torch.stack(layers) * asking).sum(dim=(0, 2, 3)) / mask.sum(dim=1, keepdim=True)).double().numpy()
    )
    total, tokens = np.zeros(len(spans)), np.zeros(len(spans))
    for row, places in zip(given, places_in(network.tokenizer, text, *cut), strict=True):
        for number, span in enumerate(spans):
            inside = (places >= span.start) & (places < span.end)
            total[number] += row[: len(places)][inside].sum()
            tokens[number] += inside.sum()
    return total / np.maximum(tokens, 1)


def without(text: str, spans: Sequence[Span]) -> str:
    """What is left of a text; the white space around what was left out stays."""
    parts, reached = [], 0
    for span in sorted(spans, key=lambda one: one.start):
        parts.append(text[reached : span.start])
        reached = span.end
    return "".join([*parts, text[reached:]])


def log_odds(probabilities: Floats, label: int) -> Floats:
    """log p - log(1 - p) of a label, (texts,); exact where p is nearly 1, for 1 - p is summed."""
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    odds: Floats = logs[:, label] - logsumexp(np.delete(logs, label, axis=1), axis=1)
    return odds
