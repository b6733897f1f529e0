"""Which sentences of a report carried an answer: integrated gradients of its log odds, summed a sentence.

On the way from word embeddings of zero to the report's own, each token's share of what the label gains is
added up (Sundararajan, Taly & Yan 2017, "Axiomatic attribution for deep networks"). Sentences that say the
same share what they carry; leaving them out one at a time (occlusion) blames neither, and was measured to
be less faithful: `python -m benchmarks.evidence`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.arrays import Floats, Ints
from tasks.ml.network.attentive import attention_of
from tasks.ml.network.calibration import Pool
from tasks.ml.network.features import Heard, evaluating, heard_by, last_linear, last_read
from tasks.ml.network.linear_reader import LinearReader
from tasks.ml.reading.long_reports import AS_EVER, LongReports
from tasks.ml.reading.occurrences import Read
from tasks.ml.reading.windows import padded, places_in, token_budget_batches, windows_of

Degree = Literal["strong", "some", "against", "none"]

METHOD: Final = "integrated-1"  # raise the number when scores change
STEPS: Final = 16  # on the way; the midpoint of each
STRONG: Final = 0.5  # of the highest score
SOME: Final = 0.1

# a point inside a number ends nothing: "1.5 cm"
_END = re.compile(r"[.;](?=\s|$)|\n")
_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Span:
    """Characters `start` up to `end`, the latter left out, of a report's cleaned text."""

    start: int
    end: int


@dataclass(frozen=True)
class Passage:
    """A sentence and its share of the label's log odds, in nats: positive speaks for it, negative against."""

    start: int
    end: int
    score: float


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its head folded in, and how it cuts reports into windows."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    window_tokens: int
    stride_tokens: int
    batch_tokens: int = 8192
    long_reports: LongReports = AS_EVER
    beside: tuple[LinearReader, Pool] | None = None  # what answers beside it, and how far each is trusted


def sentences(text: str) -> list[Span]:
    """Sentences and clauses in their order, without the white space around them.

    They end at a full stop, a semicolon or the end of a line, and hold a letter or a digit each.
    """
    spans: list[Span] = []
    begun = 0
    for end in [*(found.end() for found in _END.finditer(text)), len(text)]:
        part = text[begun:end]
        if _WORD.search(part):
            start = begun + len(part) - len(part.lstrip())
            spans.append(Span(start, begun + len(part.rstrip())))
        begun = end
    return spans


def evidence(network: Network, text: str, label: int) -> list[Passage]:
    """Every sentence of a text with its score for the label of that number; none for a text without words."""
    spans = sentences(text)
    if not spans:
        return []
    scores = contributions(network, text, spans, label, [(step + 0.5) / STEPS for step in range(STEPS)])
    return [Passage(span.start, span.end, float(score)) for span, score in zip(spans, scores, strict=True)]


def contributions(
    network: Network, text: str, spans: Sequence[Span], label: int, places: Sequence[float]
) -> Floats:
    """(sentences,) word embeddings times the gradient of the label's log odds, summed over their tokens.

    The gradient is the mean over `places` between embeddings of zero (0) and the report's own (1). What a
    linear reader beside the network finds in a token grows on the same way. What tokens outside all
    sentences contribute (special ones above all) is left out.
    """
    cut = network.window_tokens, network.stride_tokens, network.long_reports.conclusions
    windows = windows_of(network.tokenizer, [text], *cut)
    stands = [_sentence_of(place, spans) for place in places_in(network.tokenizer, text, *cut)]
    scores = np.zeros(len(spans))
    beside = _Beside.of(network, Read([text], windows), np.concatenate(stands), spans)
    batches = token_budget_batches(windows.lengths, network.batch_tokens)
    _, head = last_linear(network.model)
    with evaluating(network.model), heard_by(network.model) as heard:
        for place in places:
            pull = _pull(network, windows.ids, batches, heard, head, label, place, beside)
            scores += beside.given @ pull.beside
            for batch in batches:
                rows = [windows.ids[index] for index in batch]
                with torch.enable_grad(), _scaled(network.model, place) as words:
                    gain = pull.gained_by(_read(network, rows, heard), batch)
                    (gradient,) = torch.autograd.grad(gain, words[-1])
                given = (words[-1].detach() / place * gradient).sum(dim=-1).double().cpu().numpy()
                for row, index in enumerate(batch):
                    inside = stands[index] >= 0
                    np.add.at(scores, stands[index][inside], given[row, : len(inside)][inside])
    return scores / len(places)


def degrees(scores: Sequence[float]) -> list[Degree]:
    """How each passage is marked, beside the one that speaks most for the label.

    strong: at least half as much; some: at least a tenth; against: at least a tenth the other way.
    """
    most = max([0.0, *scores])
    return [_degree(score / most) if most else "none" for score in scores]


def _degree(share: float) -> Degree:
    if share >= STRONG:
        return "strong"
    if share >= SOME:
        return "some"
    return "against" if share <= -SOME else "none"


def _sentence_of(places: Ints, spans: Sequence[Span]) -> Ints:
    """(tokens,) number of the sentence that each character stands in, -1 for none."""
    number = np.searchsorted([span.start for span in spans], places, side="right") - 1
    ends = np.asarray([span.end for span in spans])
    return np.where((number >= 0) & (places < ends[np.maximum(number, 0)]), number, -1)


@dataclass(frozen=True, eq=False)
class _Pull:
    """How the log odds answer to what is read of some windows, the others held."""

    gradient: torch.Tensor  # (hidden,) of the log odds by what the head reads: mean or maximum over windows
    mean: torch.Tensor  # (hidden,)
    mass: torch.Tensor  # the weights of all windows together
    highest: torch.Tensor | None  # (hidden,) which window each number is of; None: it is the mean of all
    beside: Floats  # (labels,) of the log odds by the logits of what reads beside the network

    def gained_by(self, read: Heard, windows: Ints) -> torch.Tensor:
        """A number whose gradient is that of the log odds."""
        if self.highest is not None:
            taken = self.highest == torch.from_numpy(windows).to(self.highest.device)[:, None]
            return (taken * read.vectors.float() * self.gradient).sum()
        # a window that gains weight moves the mean towards itself
        towards = (read.vectors.float() - self.mean) @ self.gradient
        return (_weighed(read) * towards).sum() / self.mass


@dataclass(frozen=True, eq=False)
class _Beside:
    """What a linear reader beside the network makes of a report."""

    trust: Pool
    given: Floats  # (sentences, labels) what each adds to its logits
    outside: Floats  # (labels,) what tokens outside all sentences add
    bias: Floats  # (labels,)

    @classmethod
    def of(cls, network: Network, read: Read, stands: Ints, spans: Sequence[Span]) -> _Beside:
        """Nothing where there is none. `stands`: the sentence of each token of all windows, -1 for none."""
        labels = network.model.config.num_labels
        if network.beside is None:
            nothing = np.zeros(labels)
            return cls(Pool(1.0, 0.0), np.zeros((len(spans), labels)), nothing, nothing)
        reader, trust = network.beside
        given = np.zeros((len(spans) + 1, labels))  # the last for what stands outside all sentences
        by_token, by_letter = reader.spread(read)
        np.add.at(given, stands, by_token)
        np.add.at(given, _sentence_of(np.arange(len(by_letter)), spans), by_letter)
        return cls(trust, given[:-1], given[-1], reader.bias.astype(np.float64))

    def at(self, place: float) -> Floats:
        """(labels,) its logits on the way from an empty report (0) to this one (1)."""
        return np.asarray(self.bias + place * (self.given.sum(axis=0) + self.outside))


def _pull(
    network: Network,
    ids: Sequence[Any],
    batches: Sequence[Ints],
    heard: list[Heard],
    head: nn.Linear,
    label: int,
    place: float,
    beside: _Beside,
) -> _Pull:
    """A pass of its own: with it, windows need not be in memory together."""
    device = network.model.device
    total, mass = torch.zeros(head.in_features, device=device), torch.zeros((), device=device)
    most, highest = torch.full_like(total, -torch.inf), torch.full_like(total, -1, dtype=torch.int64)
    with torch.no_grad(), _scaled(network.model, place):
        for batch in batches:
            read = _read(network, [ids[index] for index in batch], heard)
            total += _weighed(read) @ read.vectors.float()
            mass += _weighed(read).sum()
            best, row = read.vectors.float().max(dim=0)
            highest = torch.where(best > most, torch.from_numpy(batch).to(device)[row], highest)
            most = torch.maximum(best, most)
    maximum = network.long_reports.together == "max" and attention_of(network.model) is None
    with torch.enable_grad():
        vector = (most if maximum else total / mass).requires_grad_(True)
        ours = nn.functional.linear(vector, head.weight, head.bias)  # not the module, which is listened to
        theirs = torch.from_numpy(beside.at(place)).to(ours).requires_grad_(True)
        logits = beside.trust.network * ours + beside.trust.beside * theirs
        others = torch.arange(len(logits), device=logits.device) != label
        odds = logits[label] - torch.logsumexp(logits[others], dim=0)
        gradient, by_logits = torch.autograd.grad(odds, (vector, theirs))
        told = by_logits.double().cpu().numpy()
        return _Pull(gradient, vector.detach(), mass, highest if maximum else None, told)


def _weighed(read: Heard) -> torch.Tensor:
    """(windows,) weights."""
    return torch.ones(len(read.vectors), device=read.vectors.device) if read.weights is None else read.weights


def _read(network: Network, rows: Sequence[Any], heard: list[Heard]) -> Heard:
    ids, mask = padded(rows, network.tokenizer.pad_token_id)
    device = network.model.device
    network.model(input_ids=ids.to(device), attention_mask=mask.to(device))
    return last_read(heard.pop(), [len(row) for row in rows])


@contextmanager
def _scaled(model: PreTrainedModel, place: float) -> Iterator[list[torch.Tensor]]:
    """Word embeddings times `place` inside the block; each forward pass's are appended to the list."""
    shown: list[torch.Tensor] = []

    def scale(_module: nn.Module, _inputs: tuple[Any, ...], words: torch.Tensor) -> torch.Tensor:
        shown.append((words.detach() * place).requires_grad_(torch.is_grad_enabled()))
        return shown[-1]

    hook = model.get_input_embeddings().register_forward_hook(scale)
    try:
        yield shown
    finally:
        hook.remove()
