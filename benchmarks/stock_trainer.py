"""What training costs beside a Trainer of transformers as its own pages show it.

    python -m benchmarks.stock_trainer             half an hour of one core
    python -m benchmarks.stock_trainer --rounds 1  a quick look, recorded nowhere

The same texts (the mix of `benchmarks.backends`: TCGA, NUBes and ours, cut at 510 tokens), the same MiniLM
from the same weights, as many steps of as many texts, at the same rate. **Stock**: the texts in an order of
chance, each batch as long as its longest (`DataCollatorWithPadding`, `DataCollatorForLanguageModeling`).
**Grouped**: the same with its own `train_sampling_strategy="group_by_length"`. **Ours**: `train_body` for
fine-tuning, `pretrain` for masked words. These compute in full precision; **mixed** and **stock_bf16** are
ours and stock in bfloat16, where the processor has it.

Seconds of the processor, one thread, tokenising and the checkpoint at the end included; every way takes its
turn in each round, after one step of each that is not counted. Memory: what a step of the longest texts takes
at most beside what was there before, in a process of its own.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    trainer_pt_utils,
)

from benchmarks.backends import ground, in_turns, ratio
from benchmarks.corpora import encoder_folder
from benchmarks.record import Figure, add, expecting, tell
from tasks.ml.memory import peak_mib
from tasks.ml.network.bfloat16 import no_bfloat16
from tasks.ml.pretraining.masks import Masks
from tasks.ml.pretraining.pretraining import pretrain
from tasks.ml.quiet import quietly
from tasks.ml.training.token_store import write_store
from tasks.ml.training.training import BodyTraining, train_body

COMMAND = "python -m benchmarks.stock_trainer"
TEXTS = {"fine_tuning": 96, "masked_words": 48}
BATCH = {"fine_tuning": 16, "masked_words": 8}  # a vocabulary of 30,522 makes large logits
ROUNDS, RATE, WINDOW = 3, 5e-5, 512

# written down before the first run
EXPECTED = {
    "fine_tuning_over_stock": "3.5 to 5.5: it computes twice the tokens, and drops weights of attention",
    "fine_tuning_over_grouped": "1.8 to 2.8: both sort by length, it drops weights of attention",
    "fine_tuning_mixed_over_ours": "1.6 to 2.0",
    "fine_tuning_mixed_over_stock_bf16": "3.5 to 6",
    "masked_words_over_stock": "3 to 5",
    "masked_words_over_grouped": "1.6 to 2.6",
    "masked_words_mixed_over_ours": "1.6 to 2.0",
    "masked_words_mixed_over_stock_bf16": "3 to 6",
    "fine_tuning_memory_over_stock": ".35 to .5",
    "masked_words_memory_over_stock": ".35 to .6",
}


@dataclass(frozen=True, eq=False)
class Lesson:
    """A network and what it learns from. `labels`: None where words are left out."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    texts: Sequence[str]
    labels: np.ndarray | None

    def few(self, longest: bool = False) -> Lesson:
        """One step of it, of the first texts or of the longest."""
        at = sorted(range(len(self.texts)), key=lambda one: -len(self.texts[one]) * longest)[
            : BATCH[self.name]
        ]
        labels = None if self.labels is None else self.labels[at]
        return Lesson(self.name, self.model, self.tokenizer, [self.texts[one] for one in at], labels)

    @property
    def steps(self) -> int:
        return -(-len(self.texts) // BATCH[self.name])

    def ours(self, mixed: bool = False) -> int:
        """One pass as laudos makes it; tokens that were computed, padding included."""
        config = BodyTraining(
            WINDOW, 64, epochs=1.0, learning_rate=RATE, batch_windows=BATCH[self.name],
            checkpoint_every_steps=1_000_000, mixed_precision=mixed,
        )  # fmt: skip
        model = counting(copy.deepcopy(self.model))
        with tempfile.TemporaryDirectory(prefix="laudos-stock-") as folder:
            where: dict[str, Any] = {"checkpoint_folder": Path(folder) / "checkpoints", "seed": 0}
            if self.labels is not None:
                log = train_body(model, self.tokenizer, self.texts, self.labels, config=config, **where)
            else:
                store = write_store(Path(folder) / "tokens", [self.texts], self.tokenizer, WINDOW)
                log = pretrain(model, self.tokenizer, store, Masks(self.tokenizer, 0), config=config, **where)
        return self._told(model, log.steps)

    def stock(self, sampling: str = "random", bf16: bool = False) -> int:
        """The same with a Trainer that was given nothing but what it must know."""
        told = self.tokenizer(list(self.texts), truncation=True, max_length=WINDOW)
        columns = {key: told[key] for key in ("input_ids", "attention_mask")}
        collator: Any = DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=0.15)
        if self.labels is not None:
            columns["labels"] = self.labels.tolist()
            collator = DataCollatorWithPadding(self.tokenizer)
        model = counting(copy.deepcopy(self.model))
        # as it groups thousands of texts, within 50 batches; of so few it would sort each batch by itself
        grouped = partial(trainer_pt_utils.get_length_grouped_indices, mega_batch_mult=self.steps)
        with (
            tempfile.TemporaryDirectory(prefix="laudos-stock-") as folder,
            patch.object(trainer_pt_utils, "get_length_grouped_indices", grouped),
            quietly(),
        ):
            trainer = Trainer(
                model,
                TrainingArguments(
                    output_dir=folder, num_train_epochs=1, per_device_train_batch_size=BATCH[self.name],
                    learning_rate=RATE, train_sampling_strategy=sampling, dataloader_pin_memory=False,
                    report_to=[], disable_tqdm=True, logging_strategy="no", bf16=bf16, use_cpu=True,
                ),
                train_dataset=Dataset.from_dict(columns),
                data_collator=collator,
            )  # fmt: skip
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return self._told(model, trainer.state.global_step)

    def _told(self, model: PreTrainedModel, steps: int) -> int:
        if steps != self.steps:
            raise SystemExit(f"{steps} steps were made, and not {self.steps}; nothing was measured")
        return int(model.computed_tokens)


def counting(model: PreTrainedModel) -> PreTrainedModel:
    """The network, which counts the tokens that it is given in `computed_tokens`."""

    def count(_module: Any, _inputs: Any, named: dict[str, Any]) -> None:
        model.computed_tokens += named["input_ids"].numel()

    model.computed_tokens = 0
    model.register_forward_pre_hook(count, with_kwargs=True)
    return model


def lessons() -> list[Lesson]:
    """Both. Labels are drawn: what is learnt makes no difference to the time."""
    of = ground("minilm", TEXTS["fine_tuning"])
    torch.manual_seed(0)
    with quietly():  # of the head that the folder does not hold
        speller = AutoModelForMaskedLM.from_pretrained(encoder_folder(), local_files_only=True)
    labels = np.arange(len(of.texts), dtype=np.int64) % 2
    return [
        Lesson("fine_tuning", of.model, of.tokenizer, of.texts, labels),
        Lesson("masked_words", speller, of.tokenizer, of.texts[: TEXTS["masked_words"]], None),
    ]


WAYS: dict[str, Callable[[Lesson], int]] = {
    "ours": Lesson.ours,
    "stock": Lesson.stock,
    "grouped": lambda one: one.stock("group_by_length"),
}
IN_BFLOAT16: dict[str, Callable[[Lesson], int]] = {
    "mixed": lambda one: one.ours(mixed=True),
    "stock_bf16": lambda one: one.stock(bf16=True),
}


def peak_gib(way: Callable[[Lesson], int], lesson: Lesson) -> float:
    """What a step takes at most, in a child of its own."""
    forked = multiprocessing.get_context("fork")
    here, there = forked.Pipe(duplex=False)

    def run() -> None:
        before = peak_mib()
        way(lesson)
        there.send((peak_mib() - before) / 1024)

    child = forked.Process(target=run)
    child.start()
    there.close()
    with here:
        found = float(here.recv())
    child.join()
    return found


def measure(lesson: Lesson, rounds: int) -> dict[str, Figure]:
    ways = WAYS if no_bfloat16("cpu") else WAYS | IN_BFLOAT16
    computed: dict[str, int] = {}

    def run(name: str) -> None:
        computed[name] = ways[name](lesson)

    step, name = lesson.few(longest=True), lesson.name
    peaks = {way: peak_gib(ways[way], step) for way in ways}
    for each in ways.values():
        each(lesson.few())
    taken = in_turns({way: lambda way=way: run(way) for way in ways}, rounds)  # type: ignore[misc]
    tokens = sum(len(ids) for ids in lesson.tokenizer(list(lesson.texts), truncation=True)["input_ids"])
    found = {
        f"{name}_over_stock": ratio(taken["stock"], taken["ours"]),
        f"{name}_over_grouped": ratio(taken["grouped"], taken["ours"]),
        f"{name}_memory_over_stock": Figure(peaks["ours"] / peaks["stock"], "ratio"),
    }
    if "mixed" in ways:
        found |= {
            f"{name}_mixed_over_ours": ratio(taken["ours"], taken["mixed"]),
            f"{name}_mixed_over_stock": ratio(taken["stock"], taken["mixed"]),
            f"{name}_mixed_over_stock_bf16": ratio(taken["stock_bf16"], taken["mixed"]),
        }
    for way in ways:
        found[f"{name}_{way}_peak"] = Figure(peaks[way], "GiB", n=len(step.texts))
        padding = computed[way] / tokens
        found[f"{name}_{way}_padding"] = Figure(padding, "tokens computed over tokens", n=lesson.steps)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    begun = time.monotonic()
    figures: dict[str, Figure] = {}
    for lesson in lessons():
        figures |= measure(lesson, asked.rounds)
    figures = expecting(figures, EXPECTED)
    tell(figures)
    print(f"in {time.monotonic() - begun:.0f} s")
    if asked.rounds == ROUNDS:
        print(f"wrote {add('stock_trainer', COMMAND, figures)}")


if __name__ == "__main__":
    main()
