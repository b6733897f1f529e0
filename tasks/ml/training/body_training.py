"""How a whole network is trained, and what became of it: values, whatever it is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tasks.ml.reading.conclusions import ConclusionHeadings

# plain: cross-entropy; balanced: rarer labels weigh more; focal: reports that are already right weigh less
Loss = Literal["plain", "balanced", "focal"]
# complete: every step; early: held-out reports grew no better; time: its limit was reached
Ending = Literal["complete", "early", "time"]
# bfloat16: products of matrices in it, sums and weights in float32
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class BodyTraining:
    """How the whole network is trained."""

    window_tokens: int = 512
    stride_tokens: int = 64
    conclusions: ConclusionHeadings | None = None  # whose sections lie whole in a window; None: of none
    epochs: float = 5.0
    learning_rate: float = 1e-3  # for a network from scratch; 1.5e-3 learnt visibly worse (one run)
    batch_windows: int = 32  # a step; with attention over whole reports so many of those
    batch_tokens: int = 16_384  # held at once, padding included, or one row that is longer
    last_layers: int | None = None  # only so many learn, and what comes after them; None: every weight
    mixed_precision: bool = False  # bfloat16 where GPU or processor computes in it, else float32
    head_steps: float = 1.0  # of head and attention, in learning rates: they begin from nothing
    layer_decay: float = 1.0  # learning rate of a layer, in those of the one above it
    warmup_share: float = 0.1  # of the steps; linear decay to zero afterwards
    weight_decay: float = 0.01
    clip_norm: float = 1.0  # a longer gradient is shortened to this
    checkpoint_every_steps: int = 100
    loss: Loss = "plain"
    evaluations: int = 10  # of held-out reports, evenly over the steps
    patience: int | None = None  # so many of them in a row without a new best end it; None: they end nothing
    max_seconds: float | None = None
    ends_at_step: int | None = None  # where a limit of time ended it once: to train the same network again

    @property
    def decisive(self) -> BodyTraining:
        """Without what decides only when it ends: a checkpoint is the same under another limit of time."""
        return replace(self, max_seconds=None, ends_at_step=None)


@dataclass(frozen=True)
class TrainLog:
    """What a training run did. `losses`: (step, training loss), a few dozen points.

    `held_losses`: (step, log loss of the held-out reports, calibrated), where there were any. `kept_step`:
    whose weights the network has: of the best of these, else of the last step.
    """

    steps: int
    planned_steps: int
    windows: int
    resumed_from_step: int
    losses: tuple[tuple[int, float], ...]
    batch_tokens: int  # held at once: fewer than asked for where memory ran out
    ended: Ending
    kept_step: int
    held_losses: tuple[tuple[int, float], ...]
    seconds: float  # of all its runs, but for work that a kill took away
    precision: Precision  # that it was really computed in

    @property
    def record(self) -> Mapping[str, Any]:
        """What another training must come to that is to be the same, as plain JSON."""
        return {
            "steps": self.steps,
            "planned_steps": self.planned_steps,
            "kept_step": self.kept_step,
            "ended": self.ended,
            "precision": self.precision,
        }


def how_it_ended(
    steps: int, planned_steps: int, kept_step: int, ended: Ending, precision: Precision = "float32"
) -> str:
    """Such as "ended at step 40 of 100, because time was up; the weights of step 40 are kept"."""
    told = {
        "complete": f"all {steps:,} steps were taken",
        "early": f"ended at step {steps:,} of {planned_steps:,}, because held-out reports grew no better",
        "time": f"ended at step {steps:,} of {planned_steps:,}, because time was up",
    }[ended]
    if kept_step != steps:
        told += f"; the weights of step {kept_step:,} are kept, the best on held-out reports"
    return told if precision == "float32" else f"{told} (computed in {precision})"
