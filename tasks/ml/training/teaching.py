"""Lessons before reports: the body learns to answer another question first, with a head of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.arrays import Ints
from tasks.ml.network.features import Progress, last_linear
from tasks.ml.training.training import BodyTraining, TrainLog, train_body

LESSON_STEPS = 2.0  # of a report's learning rate
LESSON_RATE_MAX = 1e-3  # at twice as much a small network learnt next to nothing from lessons (one run)
LESSONS = 100_000  # for a network from scratch


def scratch_rate(lessons: int) -> float:
    """The learning rate for reports of a small network from scratch that had so many lessons before."""
    return 5e-4 if lessons else 1e-3


def lessons_training(reports: BodyTraining) -> BodyTraining:
    """How lessons are read, by a network that reads reports so: each once, in larger steps.

    Clauses are short, and nothing that was learnt before can be lost yet.
    """
    return replace(
        reports,
        epochs=1.0,
        learning_rate=min(LESSON_RATE_MAX, LESSON_STEPS * reports.learning_rate),
        checkpoint_every_steps=5 * reports.checkpoint_every_steps,
        loss="plain",  # there are as many lessons of each finding
    )


def teach(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    answers_idx: Ints,
    answers: int,
    *,
    config: BodyTraining,
    checkpoint_folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> TrainLog:
    """Train every weight of the body in place on which of `answers` each text gives; its own head stays.

    As resumable, and as repeatable, as train_body, and raises what that raises.
    """
    with _another_head(model, answers, seed), _one_thread():
        return train_body(
            model, tokenizer, texts, answers_idx,
            config=config, checkpoint_folder=checkpoint_folder, seed=seed, progress=progress,
        )  # fmt: skip


@contextmanager
def _another_head(model: PreTrainedModel, outputs: int, seed: int) -> Iterator[None]:
    name, head = last_linear(model)
    parent = model.get_submodule(name.rpartition(".")[0])
    labels = model.config.id2label
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        other = nn.Linear(head.in_features, outputs, bias=head.bias is not None)
    try:
        _put(model, parent, name, other, {index: str(index) for index in range(outputs)})
        yield
    finally:
        _put(model, parent, name, head, labels)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A step on a few short clauses is too little work to share: two threads take longer than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _put(
    model: PreTrainedModel, parent: nn.Module, name: str, head: nn.Linear, labels: dict[int, str]
) -> None:
    setattr(parent, name.rpartition(".")[2], head)
    model.config.id2label = labels  # num_labels follows
    model.config.label2id = {label: index for index, label in labels.items()}
    model.num_labels = len(labels)  # what the loss reads
