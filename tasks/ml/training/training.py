"""Training the whole network, with transformers' Trainer; a killed run goes on where it stopped.

It ends before its last step where held-out reports grow no better or its time is up, with the best weights it
had until then.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerState

from tasks.ml.arrays import Ints
from tasks.ml.disk import room_in
from tasks.ml.errors import UnfitData
from tasks.ml.memory import give_back, is_out_of_memory
from tasks.ml.network.attentive import attention_of
from tasks.ml.network.bfloat16 import device_here, no_bfloat16
from tasks.ml.network.encoder import check_window, encoder_sha
from tasks.ml.network.features import Progress
from tasks.ml.network.fused_attention import fused_attention
from tasks.ml.network.layers import only_last_trained
from tasks.ml.quiet import quietly
from tasks.ml.reading.windows import Windows, windows_of
from tasks.ml.training.body_training import BodyTraining as BodyTraining
from tasks.ml.training.body_training import Precision
from tasks.ml.training.body_training import TrainLog as TrainLog
from tasks.ml.training.checkpoints import (
    COMPLETE,
    HELD,
    at_step,
    ending_of,
    has_ended,
    last_complete,
    points,
    seconds_of,
    state_in,
    step_of,
)
from tasks.ml.training.held_out import HeldOut
from tasks.ml.training.label_loss import label_loss
from tasks.ml.training.trainer import PASSES, Guarded, Keeper, Objective, Watch, arguments, config_kept
from tasks.ml.training.training_rows import Batch, LengthGrouped, in_passes, rows_of

READ_FROM_SCRATCH = 25_000  # reports, repeated ones counted again

# rows of a data set, and the number of the epoch -> what the network is given
Collate = Callable[[list[dict[str, Any]], int], Batch]


@dataclass(frozen=True, eq=False)
class Material:
    """What a network learns from, as tokens: one row each, `lengths` their tokens.

    `collate(rows, epoch)` makes a batch; the same ones must give the same. `fingerprint` must tell everything
    that the weights depend on. `judge`: how good the network is by now, a number of which less is better.
    """

    rows: Dataset
    lengths: Ints
    collate: Collate
    fingerprint: str
    objective: Objective
    judge: Callable[[], float] | None = None


def passes_over(reports: int) -> float:
    """So many epochs that a small network from scratch reads some 25,000 reports, between 2 and 10."""
    return min(10.0, max(2.0, READ_FROM_SCRATCH / max(reports, 1)))


def precision(mixed: bool) -> Precision:
    """What a network is trained in here, `mixed` where bfloat16 is wanted."""
    return "bfloat16" if mixed and no_bfloat16(device_here()) is None else "float32"


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
    held_out: HeldOut | None = None,
) -> TrainLog:
    """Train every weight of `model` in place; each window of a report carries the report's label.

    A network with attention (network/attentive.py) is asked once for a whole report, and a batch is of
    reports.

    `objective`: what is made small instead of the labels' cross-entropy, of the same batches. `held_out`:
    reports by which the best weights are told; the network ends with those, and config.patience decides
    when it ends.

    A complete checkpoint in `checkpoint_folder` made from the same start, windows, labels, settings
    and seed is taken up; any other in there is thrown away. On one machine's CPU the final weights
    are the same, bit for bit, however often the run was killed. `progress(steps done, steps)`.
    Trainer seeds the global generators of Python, NumPy and torch with `seed`.
    Raises UnfitData without texts, TrainingDiverged when a loss or a weight is no longer a number, DiskFull
    where no checkpoint can be written.
    """
    if not len(texts):
        raise UnfitData("the training split is empty; more patients are needed")
    check_window(model, config.window_tokens)
    windows = windows_of(tokenizer, texts, config.window_tokens, config.stride_tokens, config.conclusions)
    whole = attention_of(model) is not None
    rows = rows_of(windows, np.asarray(labels_idx, np.int64), whole_reports=whole)
    start = encoder_sha(model, tokenizer, config.window_tokens, config.stride_tokens)
    for one in (objective, held_out):
        start += "" if one is None else one.sha
    return train_on(
        model,
        Material(
            rows.dataset,
            rows.lengths,
            lambda drawn, _epoch: rows.collate(drawn, tokenizer.pad_token_id),
            _fingerprint(start, windows, rows.labels, config.decisive, seed),
            objective or label_loss(config.loss, rows.labels, model.config.num_labels),
            None if held_out is None else held_out.judge(model, tokenizer, config),
        ),
        config=config,
        checkpoint_folder=checkpoint_folder,
        seed=seed,
        progress=progress,
    )


def train_on(
    model: PreTrainedModel,
    material: Material,
    *,
    config: BodyTraining,
    checkpoint_folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> TrainLog:
    """`train_body` for what is tokens already. A checkpoint is taken up where it bears the fingerprint.

    Where memory runs out, the training begins again with half of the tokens at once, and halves those in
    turn: a step sees the same rows. Raises what ran out when one row is too many.
    """
    began_s = monotonic()
    begun = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    marks = {mark.read_text() for mark in checkpoint_folder.glob(f"checkpoint-*/{COMPLETE}")}
    budgets = list(_budgets(config, material.lengths))
    # a run that was killed may have run out of memory before
    known = next((at for at, one in enumerate(budgets) if _of(material, one) in marks), 0)
    for smaller in budgets[known:]:
        watch = Watch(_of(material, smaller), began_s, progress, material.judge)
        try:
            return _trained_on(model, material, smaller, checkpoint_folder, seed, watch)
        except Exception as error:
            if smaller is budgets[-1] or not is_out_of_memory(error):
                raise
        # out of the except block: the exception's frames hold the tensors that took the memory
        model.load_state_dict(begun)
        give_back()
    raise AssertionError("the last of the budgets returns or raises")


def _budgets(config: BodyTraining, lengths: Ints) -> Iterator[BodyTraining]:
    """As asked for, then with half of the tokens at once, and so on, until the longest row is alone."""
    yield config
    longest = int(lengths.max())
    tokens = min(config.batch_tokens, config.batch_windows * longest)
    while tokens > longest:
        tokens = max(longest, tokens // 2)
        yield replace(config, batch_tokens=tokens)


def _of(material: Material, config: BodyTraining) -> str:
    return f"{material.fingerprint} {config.batch_tokens} {precision(config.mixed_precision)}"


def _trained_on(
    model: PreTrainedModel, material: Material, config: BodyTraining, folder: Path, seed: int, watch: Watch
) -> TrainLog:
    checkpoint = last_complete(folder, watch.fingerprint)
    order = LengthGrouped(material.lengths, config.batch_windows, seed)
    steps_an_epoch = len(order.batches(0))
    steps = max(1, math.ceil(config.epochs * steps_an_epoch))
    # one to go on from, should the newest be half-written; and the best
    kept = 2 if watch.judge is None else 3
    with (
        quietly(),
        room_in(folder),
        only_last_trained(model, config.last_layers),
        config_kept(model),
        fused_attention(model),
    ):
        trainer = Guarded(
            model=model,
            args=arguments(config, folder, steps, seed, checkpoints=kept),
            train_dataset=material.rows,
            # one process collates as it computes, so that the order's epoch is the batch's
            data_collator=lambda drawn: {
                PASSES: [material.collate(one, order.epoch) for one in in_passes(drawn, config.batch_tokens)]
            },
            callbacks=[Keeper(order, steps_an_epoch, config, watch)],
        )
        trainer.order, trainer.objective, trainer.config_of_training = order, material.objective, config
        trainer.precision = precision(config.mixed_precision)
        state = _run(trainer, checkpoint)
        best = state.best_global_step or state.global_step
        if best != state.global_step:
            trainer.take(at_step(folder, best))
    model.eval()
    return TrainLog(
        steps=state.global_step,
        planned_steps=steps,
        windows=len(material.lengths),
        resumed_from_step=0 if checkpoint is None else step_of(checkpoint),
        losses=points(state, "loss"),
        batch_tokens=config.batch_tokens,
        ended=ending_of(state) or "complete",
        kept_step=best,
        held_losses=points(state, HELD),
        seconds=seconds_of(state),
        precision=trainer.precision,
    )


def _run(trainer: Guarded, checkpoint: Path | None) -> TrainerState:
    """To its end, which a run that was killed after it had ended has reached already.

    Trainer takes a step more where the last one is not the last of an epoch.
    """
    if checkpoint is not None and has_ended(state := state_in(checkpoint)):
        trainer.take(checkpoint)
        return state
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return trainer.state


def _fingerprint(start: str, windows: Windows, labels: Ints, config: BodyTraining, seed: int) -> str:
    """sha256 over what a checkpoint must have in common with the run that takes it up."""
    sha = hashlib.sha256(repr((start, config, seed)).encode())
    sha.update(labels.astype("<i8").tobytes())
    for ids in windows.ids:
        sha.update(len(ids).to_bytes(8, "little") + ids.astype("<i4").tobytes())
    return sha.hexdigest()
