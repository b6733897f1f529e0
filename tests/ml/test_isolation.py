"""A report that makes the model fail is found; where memory runs out, the batch is blamed before a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
import torch

from tasks.ml.memory import is_out_of_memory
from tasks.ml.network.features import Encoded
from tasks.ml.network.isolation import PROBE, read_each, readable
from tasks.ml.network.predictor import Predictor

NO_MEMORY: dict[str, Callable[[], Any]] = {
    "python": lambda: bytearray(2**62),
    "numpy": lambda: np.empty(10**15),
    "torch": lambda: torch.empty(10**15),
}


@dataclass
class Small:
    """A model on a machine of little memory: what a batch may hold, and what a single text may."""

    batch_tokens_max: int
    letters_max: int = 100
    fails: Callable[[], Any] = NO_MEMORY["torch"]
    asked: list[tuple[int, int]] = field(default_factory=list)
    hidden: int = 2

    def vectors(self, texts: Sequence[str], *, batch_tokens: int = 8192, progress: Any = None) -> Encoded:
        if list(texts) != [PROBE]:
            self.asked.append((len(texts), batch_tokens))
            if batch_tokens > self.batch_tokens_max or any(len(text) > self.letters_max for text in texts):
                self.fails()
        lengths = np.array([len(text) for text in texts], np.int64)
        return Encoded(
            np.repeat(lengths[:, None], 2, 1).astype(np.float32),
            lengths,
            lengths,
            lengths,
            [b""] * len(texts),
        )


def read(model: Small, texts: Sequence[str], **options: Any) -> Encoded:
    return read_each(cast(Predictor, model), texts, **options)


@pytest.mark.parametrize("kind", NO_MEMORY)
def test_a_machine_short_of_memory_reads_in_smaller_batches_and_blames_nobody(kind: str) -> None:
    model = Small(batch_tokens_max=2048, fails=NO_MEMORY[kind])
    texts = ["a" * n for n in range(1, 9)]
    told = read(model, texts)
    assert readable(told).all()
    assert told.tokens_seen.tolist() == list(range(1, 9))
    assert model.asked == [(8, 8192), (8, 2048)]


def test_a_report_that_takes_all_memory_is_found_at_the_smallest_batches() -> None:
    model = Small(batch_tokens_max=8192)
    told = read(model, ["a", "b" * 500, "c", "d"])
    assert readable(told).tolist() == [True, False, True, True]
    assert model.asked == [(4, 8192), (4, 2048), (4, 512), (2, 512), (1, 512), (1, 512), (2, 512)]


def test_another_failure_is_no_reason_for_smaller_batches() -> None:
    def fails() -> None:
        raise RuntimeError("a kernel said no")

    model = Small(batch_tokens_max=8192, fails=fails)
    assert readable(read(model, ["a", "b" * 500])).tolist() == [True, False]
    assert {batch_tokens for _, batch_tokens in model.asked} == {8192}


def test_memory_is_told_from_other_failures() -> None:
    for fails in NO_MEMORY.values():
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            fails()
        assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("not enough memory"))
