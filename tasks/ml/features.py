"""What a classifier's last linear layer reads, for whole reports.

Cutting every network at its last linear layer is what makes a head refresh cheap: the vectors are
stored once, and any later head is a matrix product on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.errors import UnfitEncoder
from tasks.ml.familiarity import sketches_of
from tasks.ml.windows import Ints, cached_tokens, padded, token_budget_batches, windows_of

Progress = Callable[[int, int], None]
Vectors = NDArray[np.float32]
# token ids and attention mask (windows, tokens) -> what the head reads (windows, hidden)
Reader = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Reports as the head reads them."""

    vectors: Vectors  # (texts, hidden)
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
) -> Encoded:
    """Read whole texts with the body of `model`, or with `reader`; `progress(windows done, windows)`.

    A text's vector is the plain mean over its windows, which are all of one length (see windows_of).
    For a text of one window, the head applied to its vector gives exactly the model's own logits.
    `batch_tokens`: at most so many a pass; a processor is given no more than `cached_tokens`.
    """
    windows = windows_of(tokenizer, texts, window_tokens, stride_tokens)
    hidden = last_linear(model)[1].in_features
    sums = np.zeros((len(texts), hidden), np.float64)
    budget = min(batch_tokens, cached_tokens(hidden)) if model.device.type == "cpu" else batch_tokens
    read, done = reader or reader_of(model), 0
    with evaluating(model), torch.inference_mode():
        for batch in token_budget_batches(windows.lengths, budget):
            rows = [windows.ids[index] for index in batch]
            ids, mask = padded(rows, tokenizer.pad_token_id)
            np.add.at(sums, windows.owner[batch], read(ids, mask).float().cpu().numpy())
            done += len(batch)
            if progress is not None:
                progress(done, len(windows.ids))
    counts = windows.per_text
    vectors = (sums / counts[:, None]).astype(np.float32)
    return Encoded(vectors, windows.tokens_seen, windows.tokens_total, counts, sketches_of(texts))


def reader_of(model: PreTrainedModel) -> Reader:
    """The body of `model` as it stands, in torch."""
    _, head = last_linear(model)

    def read(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with heard_by(head) as heard:
            model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device))
        return last_read(heard.pop(), mask.sum(dim=1).tolist())

    return read


def last_read(heard: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """(windows, hidden) of what a head was given. `lengths`: tokens a window, padding left out.

    A decoder scores every token: the last real one has read them all.
    """
    if heard.ndim == 2:
        return heard
    last = torch.as_tensor([length - 1 for length in lengths], device=heard.device)
    return heard[torch.arange(len(lengths), device=heard.device), last]


@contextmanager
def heard_by(head: nn.Linear) -> Iterator[list[torch.Tensor]]:
    """What the head is given at each forward pass, appended to the list."""
    heard: list[torch.Tensor] = []

    def listen(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        heard.append(inputs[0])

    hook = head.register_forward_pre_hook(listen)
    try:
        yield heard
    finally:
        hook.remove()


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Dropout off inside the block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
