"""What a network is trained on: rows of token ids with a label each, the order they are read in, and how
many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Sampler

from tasks.ml.arrays import Ints
from tasks.ml.reading.windows import Windows, padded

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Rows:
    """What a network is asked, one label a row."""

    dataset: Dataset
    lengths: Ints  # (rows,) tokens
    labels: Ints  # (rows,)
    collate: Callable[[list[dict[str, Any]], int], dict[str, torch.Tensor]]


def rows_of(windows: Windows, labels: Ints, *, whole_reports: bool) -> Rows:
    """One row a window, each with its report's label; or one row a report, with all its windows."""
    return _reports(windows, labels) if whole_reports else _windows(windows, labels)


def _windows(windows: Windows, labels: Ints) -> Rows:
    of_window = labels[windows.owner]
    dataset = Dataset.from_dict({"input_ids": windows.ids, "labels": of_window})
    return Rows(dataset, windows.lengths, of_window, _collated)


def _reports(windows: Windows, labels: Ints) -> Rows:
    first = np.cumsum(windows.per_text) - windows.per_text
    ids = [windows.ids[start : start + count] for start, count in zip(first, windows.per_text, strict=True)]
    dataset = Dataset.from_dict({"input_ids": ids, "labels": labels})
    return Rows(dataset, np.add.reduceat(windows.lengths, first), labels, _collated_reports)


def _collated(rows: list[dict[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    ids, mask = padded([np.asarray(row["input_ids"], np.int32) for row in rows], pad_id)
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


def _collated_reports(rows: list[dict[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    windows = [np.asarray(ids, np.int32) for row in rows for ids in row["input_ids"]]
    owner = [number for number, row in enumerate(rows) for _ in row["input_ids"]]
    ids, mask = padded(windows, pad_id)
    labels = torch.tensor([row["labels"] for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "owner": torch.tensor(owner)}


def in_passes(rows: Sequence[dict[str, Any]], tokens: int) -> list[list[dict[str, Any]]]:
    """The rows of a step, in their order, as many together as take so many tokens, padding included."""
    passes: list[list[dict[str, Any]]] = []
    windows = longest = 0
    for row in rows:
        ids = row["input_ids"]
        whole_report = len(ids) > 0 and not np.isscalar(ids[0])
        lengths = [len(one) for one in ids] if whole_report else [len(ids)]
        windows, longest = windows + len(lengths), max(longest, *lengths)
        if not passes or windows * longest > tokens:
            passes.append([])
            windows, longest = len(lengths), max(lengths)
        passes[-1].append(row)
    return passes


def rows_in(batch: Batch) -> int:
    return len(batch["labels"])


def share(batch: Batch, step: Sequence[Batch], counted: Callable[[Batch], int] = rows_in) -> float:
    """Of all that is counted in a step's passes, the part that is in this one of them."""
    return counted(batch) / max(1, sum(counted(one) for one in step))


class LengthGrouped(Sampler[int]):  # type: ignore[misc]
    """Windows of similar length in one batch, in an order drawn from seed and epoch alone.

    Trainer's own grouped sampler draws from torch's global generator, so a resumed epoch would see
    other batches than the one that was killed.
    """

    def __init__(self, lengths: Ints, batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def batches(self, epoch: int) -> list[Ints]:
        rng = np.random.default_rng([self.seed, epoch])
        shuffled = rng.permutation(len(self.lengths))
        pool = 50 * self.batch  # sorted within pools only, else the batches of every epoch were alike
        pools = [shuffled[start : start + pool] for start in range(0, len(shuffled), pool)]
        ordered = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in pools])
        batches = [ordered[start : start + self.batch] for start in range(0, len(ordered), self.batch)]
        # the one short batch stays last: the loader cuts batches by count
        return [batches[index] for index in rng.permutation(len(batches) - 1)] + batches[-1:]

    def __iter__(self) -> Iterator[int]:
        return iter(np.concatenate(self.batches(self.epoch)).tolist())

    def __len__(self) -> int:
        return len(self.lengths)
