"""What training costs beside a Trainer of transformers as its own pages show it.

    python -m benchmarks.stock_trainer             a quarter of an hour of one core
    python -m benchmarks.stock_trainer --rounds 1  a quick look, recorded nowhere

The same texts (the mix of `benchmarks.backends`: TCGA, NUBes and ours, cut at 510 tokens), the same MiniLM
from the same weights, as many steps of as many texts, at the same rate. **Stock**: the texts in an order of
chance, each batch as long as its longest (`DataCollatorWithPadding`, `DataCollatorForLanguageModeling`).
**Grouped**: the same with its own `train_sampling_strategy="group_by_length"`. **Ours**: `train_body` for
fine-tuning, `pretrain` for masked words. All compute in full precision.

Seconds of the processor, one thread, tokenising and the checkpoint at the end included; every way takes its
turn in each round, after one step of each that is not counted.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
)

from benchmarks.backends import ground, in_turns, ratio
from benchmarks.corpora import encoder_folder
from benchmarks.record import Figure, add, expecting
from tasks.ml.masks import Masks
from tasks.ml.pretraining import pretrain
from tasks.ml.quiet import quietly
from tasks.ml.token_store import write_store
from tasks.ml.training import BodyTraining, train_body

COMMAND = "python -m benchmarks.stock_trainer"
TEXTS = {"fine_tuning": 96, "masked_words": 48}
BATCH = {"fine_tuning": 16, "masked_words": 8}  # a vocabulary of 30,522 makes large logits
ROUNDS, RATE, WINDOW = 3, 5e-5, 512

# written down before the first run
EXPECTED = {
    "fine_tuning_over_stock": "1.7 to 2.1: a batch of chance computes twice the tokens",
    "fine_tuning_over_grouped": ".95 to 1.05: both sort by length",
    "masked_words_over_stock": "1.6 to 2.0",
    "masked_words_over_grouped": ".95 to 1.1",
}


@dataclass(frozen=True, eq=False)
class Lesson:
    """A network and what it learns from. `labels`: None where words are left out."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    texts: Sequence[str]
    labels: np.ndarray | None

    def few(self) -> Lesson:
        """One step of it."""
        some = BATCH[self.name]
        labels = None if self.labels is None else self.labels[:some]
        return Lesson(self.name, self.model, self.tokenizer, self.texts[:some], labels)

    @property
    def steps(self) -> int:
        return -(-len(self.texts) // BATCH[self.name])

    def ours(self) -> int:
        """One pass as laudos makes it; tokens that were computed, padding included."""
        config = BodyTraining(
            WINDOW, 64, epochs=1.0, learning_rate=RATE, batch_windows=BATCH[self.name],
            checkpoint_every_steps=1_000_000,
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

    def stock(self, sampling: str = "random") -> int:
        """The same with a Trainer that was given nothing but what it must know."""
        told = self.tokenizer(list(self.texts), truncation=True, max_length=WINDOW)
        columns = {key: told[key] for key in ("input_ids", "attention_mask")}
        collator: Any = DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=0.15)
        if self.labels is not None:
            columns["labels"] = self.labels.tolist()
            collator = DataCollatorWithPadding(self.tokenizer)
        model = counting(copy.deepcopy(self.model))
        with tempfile.TemporaryDirectory(prefix="laudos-stock-") as folder, quietly():
            trainer = Trainer(
                model,
                TrainingArguments(
                    output_dir=folder, num_train_epochs=1, per_device_train_batch_size=BATCH[self.name],
                    learning_rate=RATE, train_sampling_strategy=sampling, dataloader_pin_memory=False,
                    report_to=[], disable_tqdm=True, logging_strategy="no",
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


def measure(lesson: Lesson, rounds: int) -> dict[str, Figure]:
    ways: dict[str, Callable[[Lesson], int]] = {
        "ours": Lesson.ours,
        "stock": Lesson.stock,
        "grouped": lambda one: one.stock("group_by_length"),
    }
    computed: dict[str, int] = {}

    def run(name: str) -> None:
        computed[name] = ways[name](lesson)

    for way in ways.values():
        way(lesson.few())
    taken = in_turns({name: lambda name=name: run(name) for name in ways}, rounds)  # type: ignore[misc]
    tokens = sum(len(ids) for ids in lesson.tokenizer(list(lesson.texts), truncation=True)["input_ids"])
    return {
        f"{lesson.name}_over_stock": ratio(taken["stock"], taken["ours"]),
        f"{lesson.name}_over_grouped": ratio(taken["grouped"], taken["ours"]),
    } | {
        f"{lesson.name}_{name}_padding": Figure(count / tokens, "tokens computed over tokens", n=lesson.steps)
        for name, count in computed.items()
    }


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
    for name, figure in figures.items():
        print(f"{name:32} {figure.value:10.4g} {figure.unit}")
    print(f"in {time.monotonic() - begun:.0f} s")
    if asked.rounds == ROUNDS:
        print(f"wrote {add('stock_trainer', COMMAND, figures)}")


if __name__ == "__main__":
    main()
