"""Training the whole network, with transformers' Trainer; a killed run goes on where it stopped.

Checkpoints hold weights and optimizer state, no text. Trainer keeps the optimizer's state as
tensors that it reads back with `weights_only=True`, which runs no code; they never leave the
checkpoint folder, and a published model holds none of them.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tasks.ml.attentive import attention_of
from tasks.ml.conclusions import ConclusionHeadings
from tasks.ml.disk import room_in
from tasks.ml.encoder import check_window, encoder_sha
from tasks.ml.errors import TrainingDiverged, UnfitData
from tasks.ml.features import Progress, last_linear
from tasks.ml.layers import only_last_trained
from tasks.ml.memory import give_back, is_out_of_memory
from tasks.ml.quiet import quietly
from tasks.ml.training_rows import LengthGrouped, rows_of
from tasks.ml.windows import Ints, Windows, windows_of

COMPLETE = "COMPLETE"
TRIM_STEPS = 4  # between two returns of freed memory
READ_FROM_SCRATCH = 25_000  # reports, repeated ones counted again

# rows of a data set, and the number of the epoch -> what the network is given
Collate = Callable[[list[dict[str, Any]], int], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class BodyTraining:
    """How the whole network is trained."""

    window_tokens: int = 512
    stride_tokens: int = 64
    conclusions: ConclusionHeadings | None = None  # whose sections lie whole in a window; None: of none
    epochs: float = 5.0
    learning_rate: float = 1e-3  # for a network from scratch; 1.5e-3 learnt visibly worse (one run)
    batch_windows: int = 32
    accumulate_batches: int = 1  # so many of them make one step
    last_layers: int | None = None  # only so many learn, and what comes after them; None: every weight
    mixed_precision: bool = False  # bfloat16 autocast, where a GPU has it; a processor computes in float32
    head_steps: float = 1.0  # of head and attention, in learning rates: they begin from nothing
    warmup_share: float = 0.1  # of the steps; linear decay to zero afterwards
    weight_decay: float = 0.01
    checkpoint_every_steps: int = 100


@dataclass(frozen=True)
class TrainLog:
    """What a training run did. `losses`: (step, training loss), a few dozen points."""

    steps: int
    windows: int
    resumed_from_step: int
    losses: tuple[tuple[int, float], ...]
    batch_windows: int  # fewer than asked for where memory ran out


class Objective(Protocol):
    """Another loss than the labels' cross-entropy."""

    @property
    def sha(self) -> str:
        """Of all that the loss depends on besides network and batch: another one is another training."""

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Of `batch` (input_ids, attention_mask, labels; owner of whole reports), a number to make small."""


def passes_over(reports: int) -> float:
    """So many epochs that a small network from scratch reads some 25,000 reports, between 2 and 10."""
    return min(10.0, max(2.0, READ_FROM_SCRATCH / max(reports, 1)))


def train_body(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels_idx: Ints,
    *,
    config: BodyTraining,
    checkpoint_folder: Path,
    seed: int,
    progress: Progress | None = None,
    objective: Objective | None = None,
) -> TrainLog:
    """Train every weight of `model` in place; each window of a report carries the report's label.

    A network with attention (attentive.py) is asked once for a whole report, and a batch is of reports.

    `objective`: what is made small instead of the labels' cross-entropy, of the same batches.

    A complete checkpoint in `checkpoint_folder` made from the same start, windows, labels, settings
    and seed is taken up; any other in there is thrown away. On one machine's CPU the final weights
    are the same, bit for bit, however often the run was killed. `progress(steps done, steps)`.
    Trainer seeds the global generators of Python, NumPy and torch with `seed`.
    Raises UnfitData without texts, TrainingDiverged when the loss is no longer a number, DiskFull where
    no checkpoint can be written.
    """
    if not len(texts):
        raise UnfitData("the training split is empty; more patients are needed")
    check_window(model, config.window_tokens)
    windows = windows_of(tokenizer, texts, config.window_tokens, config.stride_tokens, config.conclusions)
    whole = attention_of(model) is not None
    rows = rows_of(windows, np.asarray(labels_idx, np.int64), whole_reports=whole)
    start = encoder_sha(model, tokenizer, config.window_tokens, config.stride_tokens)
    if objective is not None:
        start += objective.sha
    return train_on(
        model,
        rows.dataset,
        rows.lengths,
        lambda drawn, _epoch: rows.collate(drawn, tokenizer.pad_token_id),
        config=config,
        checkpoint_folder=checkpoint_folder,
        fingerprint=_fingerprint(start, windows, rows.labels, config, seed),
        seed=seed,
        progress=progress,
        objective=objective,
    )


def train_on(
    model: PreTrainedModel,
    rows: Dataset,
    lengths: Ints,
    collate: Collate,
    *,
    config: BodyTraining,
    checkpoint_folder: Path,
    fingerprint: str,
    seed: int,
    progress: Progress | None = None,
    objective: Objective | None = None,
) -> TrainLog:
    """`train_body` for windows that are tokens already: one row each, `lengths` their tokens.

    `collate(rows, epoch)` makes a batch; the same ones must give the same. A checkpoint is taken up where it
    bears this `fingerprint`, which must tell everything that the weights depend on.

    Where memory runs out, the training begins again with batches of half the size, two of them a step, and
    halves those in turn: a step sees the same number of rows. Raises what ran out when one row is too many.
    """
    begun = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    marks = {mark.read_text() for mark in checkpoint_folder.glob(f"checkpoint-*/{COMPLETE}")}
    # a run that was killed may have run out of memory before
    known = next((one for one in _halvings(config) if _of(fingerprint, one) in marks), config)
    for smaller in _halvings(known):
        try:
            return _trained_on(
                model, rows, lengths, collate, smaller, checkpoint_folder, _of(fingerprint, smaller), seed,
                progress, objective,
            )  # fmt: skip
        except Exception as error:
            if smaller.batch_windows == 1 or not is_out_of_memory(error):
                raise
        # out of the except block: the exception's frames hold the tensors that took the memory
        model.load_state_dict(begun)
        give_back()
    raise AssertionError("the last of the halvings returns or raises")


def _halvings(config: BodyTraining) -> Iterator[BodyTraining]:
    """As asked for, then in batches of half the size, two of them a step, and so on: a step sees as much."""
    yield config
    rows, batch = config.batch_windows * config.accumulate_batches, config.batch_windows
    while batch > 1:
        batch //= 2
        yield replace(config, batch_windows=batch, accumulate_batches=round(rows / batch))


def _of(fingerprint: str, config: BodyTraining) -> str:
    return f"{fingerprint} {config.batch_windows}"


def _trained_on(
    model: PreTrainedModel,
    rows: Dataset,
    lengths: Ints,
    collate: Collate,
    config: BodyTraining,
    checkpoint_folder: Path,
    fingerprint: str,
    seed: int,
    progress: Progress | None,
    objective: Objective | None,
) -> TrainLog:
    checkpoint = _last_complete(checkpoint_folder, fingerprint)
    order = LengthGrouped(lengths, config.batch_windows, seed)
    steps_an_epoch = math.ceil(len(order.batches(0)) / config.accumulate_batches)
    steps = max(1, math.ceil(config.epochs * steps_an_epoch))
    with (
        quietly(),
        room_in(checkpoint_folder),
        only_last_trained(model, config.last_layers),
        _config_kept(model),
    ):
        trainer = _Guarded(
            model=model,
            args=_arguments(config, checkpoint_folder, steps, seed),
            train_dataset=rows,
            # one process collates as it computes, so that the order's epoch is the batch's
            data_collator=lambda drawn: collate(drawn, order.epoch),
            callbacks=[_Keeper(order, steps_an_epoch, fingerprint, progress)],
        )
        trainer.order, trainer.objective, trainer.head_steps = order, objective, config.head_steps
        # every loss here is the mean of a batch: a step takes the mean of its batches, not their sum
        trainer.model_accepts_loss_kwargs = False
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    model.eval()
    losses = tuple((int(e["step"]), float(e["loss"])) for e in trainer.state.log_history if "loss" in e)
    resumed = 0 if checkpoint is None else _step_of(checkpoint)
    return TrainLog(trainer.state.global_step, len(lengths), resumed, losses, config.batch_windows)


@contextmanager
def _config_kept(model: PreTrainedModel) -> Iterator[None]:
    """Trainer sets use_cache on every family: on one that has none it would be in the encoder's sha and not
    in the saved file. Gone however the block ends: what ran out of memory is trained again."""
    had_cache = hasattr(model.config, "use_cache")
    try:
        yield
    finally:
        if not had_cache:
            vars(model.config).pop("use_cache", None)


def _arguments(config: BodyTraining, folder: Path, steps: int, seed: int) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_windows,
        gradient_accumulation_steps=config.accumulate_batches,
        bf16=config.mixed_precision and torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=math.ceil(config.warmup_share * steps),
        lr_scheduler_type="linear",
        seed=seed,
        data_seed=seed,
        save_strategy="steps",
        save_steps=config.checkpoint_every_steps,
        save_total_limit=2,  # one to go on from, should the newest be half-written
        logging_steps=max(1, steps // 40),
        logging_nan_inf_filter=False,  # the filter would show a diverged run as a good one
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to=[],
        disable_tqdm=True,
    )
    # one of several GPUs: DataParallel would read as many batches at once, and part reports from windows
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


class _Guarded(Trainer):  # type: ignore[misc]
    """Trainer with an order of batches that is a function of seed and epoch, and an eye on the loss."""

    order: LengthGrouped
    objective: Objective | None
    head_steps: float

    def create_optimizer(self, model: PreTrainedModel | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        if self.head_steps != 1.0:
            _let_run_ahead(optimizer, _beginners(self.model), self.head_steps)
        return optimizer

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        return self.order

    def compute_loss(self, model: PreTrainedModel, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if self.objective is None:
            found = super().compute_loss(model, inputs, *args, **kwargs)
        else:
            found = self.objective.loss(model, inputs)
        loss = found[0] if isinstance(found, tuple) else found
        if not torch.isfinite(loss):
            raise TrainingDiverged(
                f"the loss is no longer a number at step {self.state.global_step + 1}; "
                "lower learning_rate (or check that the encoder's weights are sound)"
            )
        return found

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Keep the history; Trainer would print it."""
        self.state.log_history.append({**logs, "step": self.state.global_step})


class _Keeper(TrainerCallback):  # type: ignore[misc]
    """Tells the order which epoch it is, marks whole checkpoints, and reports progress."""

    def __init__(
        self, order: LengthGrouped, steps_an_epoch: int, fingerprint: str, progress: Progress | None
    ) -> None:
        self.order, self.steps_an_epoch = order, steps_an_epoch
        self.fingerprint, self.progress = fingerprint, progress

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.order.epoch = state.global_step // self.steps_an_epoch

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step % TRIM_STEPS == 0:
            give_back()
        if self.progress is not None:
            self.progress(state.global_step, state.max_steps)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).write_text(self.fingerprint)


def _beginners(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The weights that no pre-training made: the head's, and the attention's."""
    attention = attention_of(model)
    return [*last_linear(model)[1].parameters(), *(attention.parameters() if attention is not None else ())]


def _let_run_ahead(
    optimizer: torch.optim.Optimizer, some: Sequence[torch.nn.Parameter], times: float
) -> None:
    """Give these weights so many times the learning rate of the others."""
    ahead = {id(weights) for weights in some}
    for group in list(optimizer.param_groups):
        fast = [weights for weights in group["params"] if id(weights) in ahead]
        if fast:
            group["params"] = [weights for weights in group["params"] if id(weights) not in ahead]
            optimizer.add_param_group({**group, "params": fast, "lr": times * group["lr"]})


def _fingerprint(start: str, windows: Windows, labels: Ints, config: BodyTraining, seed: int) -> str:
    """sha256 over what a checkpoint must have in common with the run that takes it up."""
    sha = hashlib.sha256(repr((start, config, seed)).encode())
    sha.update(labels.astype("<i8").tobytes())
    for ids in windows.ids:
        sha.update(len(ids).to_bytes(8, "little") + ids.astype("<i4").tobytes())
    return sha.hexdigest()


def _last_complete(folder: Path, fingerprint: str) -> Path | None:
    """The newest whole checkpoint of this very run; what is not of it is removed."""
    usable = []
    for path in folder.glob("checkpoint-*"):
        mark = path / COMPLETE
        if mark.is_file() and mark.read_text() == fingerprint:
            usable.append(path)
        else:
            shutil.rmtree(path)
    return max(usable, key=_step_of, default=None)


def _step_of(checkpoint: Path) -> int:
    number = re.search(r"\d+$", checkpoint.name)
    return int(number[0]) if number else 0
