"""transformers' Trainer with an order of batches of its own, an eye on the loss, and an end of its own.

What ends a training early, and what it had cost until then, stands in the history of its state. A checkpoint
holds that, so that a run that was killed goes on, or has ended, as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tasks.ml.errors import TrainingDiverged
from tasks.ml.memory import give_back
from tasks.ml.network.features import Progress
from tasks.ml.training.body_training import BodyTraining, Ending, Precision
from tasks.ml.training.checkpoints import (
    COMPLETE,
    ENDED,
    HELD,
    SECONDS,
    at_step,
    newest,
    points,
    seconds_of,
)
from tasks.ml.training.rates import rates_of, set_rates
from tasks.ml.training.training_rows import Batch, LengthGrouped

TRIM_STEPS = 4  # between two returns of freed memory
PASSES = "passes"  # what a step is given: batches, one of which is held in memory at a time


class Objective(Protocol):
    """What is made small."""

    @property
    def sha(self) -> str:
        """Of all that the loss depends on besides network and batch: another one is another training."""

    def loss(self, model: PreTrainedModel, batch: Batch, step: Sequence[Batch]) -> torch.Tensor:
        """What `batch` (input_ids, attention_mask, labels; owner of whole reports) adds to a step's loss.

        `step`: all its passes, of which `batch` is one; they add up to what they would be in one.
        """


@dataclass(frozen=True, eq=False)
class Watch:
    """Who looks at a training while it runs, and what for. `began_s`: on the monotonic clock."""

    fingerprint: str
    began_s: float
    progress: Progress | None = None
    judge: Callable[[], float] | None = None


class Guarded(Trainer):  # type: ignore[misc]
    """Trainer with an order of batches that is a function of seed and epoch, and an eye on the loss."""

    order: LengthGrouped
    objective: Objective
    config_of_training: BodyTraining
    precision: Precision

    def create_optimizer(self, model: PreTrainedModel | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        set_rates(optimizer, self.model, rates_of(self.model, self.config_of_training))
        return optimizer

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        return self.order

    def training_step(self, model: PreTrainedModel, inputs: Any, *_: Any) -> torch.Tensor:
        """The loss of a step; its gradient is the sum of its passes', of which one is held at a time."""
        model.train()
        passes = self._prepare_inputs(inputs)[PASSES]
        loss = torch.stack([self._pass(model, batch, passes) for batch in passes]).sum()
        if not torch.isfinite(loss):
            raise _diverged("the loss is no longer a number", self.args, self.state.global_step + 1)
        return loss

    def _pass(self, model: PreTrainedModel, batch: Batch, step: Sequence[Batch]) -> torch.Tensor:
        # Trainer's own way (bf16) would leave the network in bfloat16 for whoever reads with it afterwards
        with torch.autocast(model.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            loss = self.objective.loss(model, batch, step)
        self.accelerator.backward(loss)
        return loss.detach()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Keep the history; Trainer would print it."""
        self.state.log_history.append({**logs, "step": self.state.global_step})

    def take(self, checkpoint: Path) -> None:
        """Give the network the weights of a checkpoint."""
        self._load_from_checkpoint(str(checkpoint))


class Keeper(TrainerCallback):  # type: ignore[misc]
    """Tells the order which epoch it is, ends the training in time, marks checkpoints, tells progress."""

    def __init__(self, order: LengthGrouped, steps_an_epoch: int, config: BodyTraining, watch: Watch) -> None:
        self.order, self.steps_an_epoch = order, steps_an_epoch
        self.config, self.watch = config, watch
        self.seconds_before = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.seconds_before = seconds_of(state)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.order.epoch = state.global_step // self.steps_an_epoch

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        **_: Any,
    ) -> None:
        if state.global_step % TRIM_STEPS == 0:
            give_back()
        ended = self._ended(args, state, control)
        if ended is not None:
            state.log_history.append({ENDED: ended, "step": state.global_step})
            control.should_training_stop = control.should_save = True
        if control.should_save:
            if model is not None and not _is_finite(model):
                raise _diverged("weights are no longer numbers", args, state.global_step)
            # so that the loss curve of a run that is taken up has the points of one that was not
            control.should_log = True
            state.log_history.append({SECONDS: self._seconds(), "step": state.global_step})
        if self.watch.progress is not None:
            self.watch.progress(state.global_step, state.max_steps)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        (at_step(Path(args.output_dir), state.global_step) / COMPLETE).write_text(self.watch.fingerprint)

    def _ended(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> Ending | None:
        """Why it ends here, before its last step; a better network than any before is to be saved."""
        step, last = state.global_step, state.global_step >= state.max_steps
        late = not last and self._is_late(step)
        every = math.ceil(state.max_steps / self.config.evaluations)
        if self.watch.judge is not None and (last or late or step % every == 0):
            loss = self.watch.judge()
            if not math.isfinite(loss):
                raise _diverged("the loss of held-out reports is no longer a number", args, step)
            state.log_history.append({HELD: loss, "step": step})
            if state.best_metric is None or loss < state.best_metric:
                state.best_metric, state.best_global_step = loss, step
                control.should_save = True
        if late:
            return "time"
        return "early" if not last and self._waits_in_vain(state) else None

    def _is_late(self, step: int) -> bool:
        if self.config.ends_at_step is not None:
            return step >= self.config.ends_at_step
        return self.config.max_seconds is not None and self._seconds() >= self.config.max_seconds

    def _waits_in_vain(self, state: TrainerState) -> bool:
        since = [step for step, _ in points(state, HELD) if step > (state.best_global_step or 0)]
        return self.config.patience is not None and len(since) >= self.config.patience

    def _seconds(self) -> float:
        return self.seconds_before + monotonic() - self.watch.began_s


def arguments(
    config: BodyTraining, folder: Path, steps: int, seed: int, *, checkpoints: int
) -> TrainingArguments:
    """What Trainer is told of all this; `checkpoints`: so many are kept at once, of them the best."""
    told = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_windows,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip_norm,
        warmup_steps=math.ceil(config.warmup_share * steps),
        lr_scheduler_type="linear",
        seed=seed,
        data_seed=seed,
        save_strategy="steps",
        save_steps=config.checkpoint_every_steps,
        save_total_limit=checkpoints,
        logging_steps=max(1, steps // 40),
        logging_nan_inf_filter=False,  # the filter would show a diverged run as a good one
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to=[],
        disable_tqdm=True,
    )
    # one of several GPUs: DataParallel would read as many batches at once, and part reports from windows
    told._n_gpu = min(1, told.n_gpu)
    return told


@contextmanager
def config_kept(model: PreTrainedModel) -> Iterator[None]:
    """Trainer sets use_cache on every family: on one that has none it would be in the encoder's sha and not
    in the saved file. Gone however the block ends: what ran out of memory is trained again."""
    had_cache = hasattr(model.config, "use_cache")
    try:
        yield
    finally:
        if not had_cache:
            vars(model.config).pop("use_cache", None)


def _is_finite(model: PreTrainedModel) -> bool:
    return all(bool(torch.isfinite(weights).all()) for weights in model.parameters())


def _diverged(what: str, args: TrainingArguments, step: int) -> TrainingDiverged:
    good = newest(Path(args.output_dir))
    told = "there is none before" if good is None else f"{good.parent.name}/{good.name}"
    return TrainingDiverged(
        f"{what} at step {step}; last good checkpoint: {told}. Lower learning_rate (or check that the "
        "encoder's weights are sound)"
    )
