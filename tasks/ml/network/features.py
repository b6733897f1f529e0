"""What a classifier's last linear layer reads, for whole reports.

Cutting every network at its last linear layer is what makes a head refresh cheap: the vectors are
stored once, and any later head is a matrix product on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.arrays import Ints
from tasks.ml.errors import UnfitEncoder
from tasks.ml.network.attentive import attention_of
from tasks.ml.network.familiarity import sketches_of
from tasks.ml.network.linear_reader import LinearReader
from tasks.ml.reading.long_reports import AS_EVER, Gathered, LongReports
from tasks.ml.reading.occurrences import Read
from tasks.ml.reading.windows import Windows, cached_tokens, padded, token_budget_batches, windows_of

Progress = Callable[[int, int], None]
Vectors = NDArray[np.float32]


class Heard(NamedTuple):
    """What a head is given."""

    vectors: torch.Tensor  # (windows, hidden)
    weights: torch.Tensor | None  # (windows,) in the mean over a report; None: they weigh alike


# token ids and attention mask (windows, tokens) -> what the head reads of each window
Reader = Callable[[torch.Tensor, torch.Tensor], Heard]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Reports as the head reads them."""

    vectors: Vectors  # (texts, hidden), and behind them (texts, labels) of what was read beside the network
    tokens_seen: Ints  # (texts,)
    tokens_total: Ints  # (texts,) equal to tokens_seen: nothing is cut
    windows: Ints  # (texts,)
    sketches: list[bytes]  # what is kept of each text's words, see familiarity.py


def last_linear(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """Name and module of the head: the last linear layer with one output a label.

    Raises UnfitEncoder where there is none (a head that is a convolution, or hashed projections).
    """
    labels = model.config.num_labels
    heads = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == labels
    ]
    if not heads:
        raise UnfitEncoder(
            f"{type(model).__name__} has no linear layer with {labels} outputs to use as a head; "
            "use an encoder of another family"
        )
    return heads[-1]


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that is made of texts without a network."""

    windows: Windows
    sketches: list[bytes]  # as in Encoded
    beside: Vectors | None  # (texts, labels) logits of a linear reader; None: there is none


def prepare(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    window_tokens: int,
    stride_tokens: int,
    long_reports: LongReports = AS_EVER,
    beside: LinearReader | None = None,
) -> Prepared:
    """What `encode` makes of these texts first; raises what windows_of raises."""
    windows = windows_of(tokenizer, texts, window_tokens, stride_tokens, long_reports.conclusions)
    told = None if beside is None else beside.logits(Read(texts, windows))
    return Prepared(windows, sketches_of(texts), told)


def encode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    window_tokens: int,
    stride_tokens: int,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
    reader: Reader | None = None,
    on_gpu: bool | None = None,
    bytes_a_number: int = 4,
    long_reports: LongReports = AS_EVER,
    beside: LinearReader | None = None,
    prepared: Prepared | None = None,
) -> Encoded:
    """Read whole texts with the body of `model`, or with `reader`; `progress(windows done, windows)`.

    A text's vector is the mean over its windows, which are all of one length (see windows_of): the plain
    one, or for a network with attention (attentive.py) weighted by what each window holds. `long_reports`
    may have it otherwise.
    For a text of one window, the head applied to its vector gives exactly the model's own logits.
    `batch_tokens`: at most so many a pass; a processor is given no more than `cached_tokens`.
    `on_gpu`: whether `reader` computes there; None: where the model lies. `bytes_a_number`: of those that it
    computes in. `beside`: what reads the same tokens beside the network; its logits stand behind the vector.
    `prepared`: what `prepare` made of these texts before; None: it is made now.
    """
    prepared = prepared or prepare(
        tokenizer,
        texts,
        window_tokens=window_tokens,
        stride_tokens=stride_tokens,
        long_reports=long_reports,
        beside=beside,
    )
    windows = prepared.windows
    hidden = last_linear(model)[1].in_features
    gathered = Gathered(len(texts), hidden, long_reports.together)
    there = model.device.type != "cpu" if on_gpu is None else on_gpu
    budget = batch_tokens if there else min(batch_tokens, cached_tokens(hidden, bytes_a_number))
    read, done = reader or reader_of(model), 0
    with evaluating(model), torch.inference_mode():
        for batch in token_budget_batches(windows.lengths, budget):
            rows = [windows.ids[index] for index in batch]
            ids, mask = padded(rows, tokenizer.pad_token_id)
            heard = read(ids, mask)
            weights = None if heard.weights is None else heard.weights.double().cpu().numpy()
            gathered.take(windows.owner[batch], heard.vectors.float().cpu().numpy(), weights)
            done += len(batch)
            if progress is not None:
                progress(done, len(windows.ids))
    vectors = gathered.vectors()
    if prepared.beside is not None:
        vectors = np.hstack([vectors, prepared.beside])
    return Encoded(vectors, windows.tokens_seen, windows.tokens_total, windows.per_text, prepared.sketches)


def reader_of(model: PreTrainedModel) -> Reader:
    """The body of `model` as it stands, in torch."""

    def read(ids: torch.Tensor, mask: torch.Tensor) -> Heard:
        with heard_by(model) as heard:
            model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device))
        return last_read(heard.pop(), mask.sum(dim=1).tolist())

    return read


def last_read(heard: Heard, lengths: Sequence[int]) -> Heard:
    """One vector a window of what a head was given. `lengths`: tokens a window, padding left out.

    A decoder scores every token: the last real one has read them all.
    """
    vectors = heard.vectors
    if vectors.ndim == 2:
        return heard
    last = torch.as_tensor([length - 1 for length in lengths], device=vectors.device)
    return Heard(vectors[torch.arange(len(lengths), device=vectors.device), last], heard.weights)


@contextmanager
def heard_by(model: nn.Module) -> Iterator[list[Heard]]:
    """What the head of `model` is given at each forward pass, appended to the list."""
    heard: list[Heard] = []
    weights: list[torch.Tensor] = []
    attention = attention_of(model)

    def weigh(_module: nn.Module, _inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        weights.append(output[1])

    def listen(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        heard.append(Heard(inputs[0], weights.pop() if weights else None))

    with ExitStack() as hooks:
        hooks.callback(last_linear(model)[1].register_forward_pre_hook(listen).remove)
        if attention is not None:
            hooks.callback(attention.register_forward_hook(weigh).remove)
        yield heard


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Dropout off inside the block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
