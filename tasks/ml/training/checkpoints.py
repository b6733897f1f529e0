"""Checkpoints of a training: which is whole, of which training, and what its history says.

They hold weights and optimizer state, no text. Trainer keeps the optimizer's state as tensors that it reads
back with `weights_only=True`, which runs no code; they never leave the checkpoint folder, and a published
model holds none of them.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final, cast

from transformers import TrainerState

from tasks.ml.training.body_training import Ending

COMPLETE: Final = "COMPLETE"
# entries of a state's history besides Trainer's own
HELD: Final = "held_log_loss"
ENDED: Final = "ended"
SECONDS: Final = "seconds"


def last_complete(folder: Path, fingerprint: str) -> Path | None:
    """The newest whole checkpoint of this very training; what is not of it is removed.

    So is one whose best weights are gone: a kill between a better checkpoint's rotation and its mark may
    have taken both.
    """
    whole = {}
    for path in folder.glob("checkpoint-*"):
        mark = path / COMPLETE
        if mark.is_file() and mark.read_text() == fingerprint:
            whole[step_of(path)] = path
        else:
            shutil.rmtree(path)
    for step in sorted(whole, reverse=True):
        if state_in(whole[step]).best_global_step in (None, *whole):
            return whole[step]
        shutil.rmtree(whole.pop(step))
    return None


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of any training."""
    return max((mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}")), key=step_of, default=None)


def at_step(folder: Path, step: int) -> Path:
    return folder / f"checkpoint-{step}"


def step_of(checkpoint: Path) -> int:
    number = re.search(r"\d+$", checkpoint.name)
    return int(number[0]) if number else 0


def state_in(checkpoint: Path) -> TrainerState:
    return TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))


def points(state: TrainerState, name: str) -> tuple[tuple[int, float], ...]:
    """(step, value) of every entry of the history that has this one, in order."""
    return tuple((int(one["step"]), float(one[name])) for one in state.log_history if name in one)


def ending_of(state: TrainerState) -> Ending | None:
    """Why it ended before its last step; None where it did not."""
    entries: list[dict[str, Any]] = state.log_history
    return next((cast(Ending, one[ENDED]) for one in entries if ENDED in one), None)


def has_ended(state: TrainerState) -> bool:
    """Whether no step is left: all were taken, or it ended before."""
    return state.global_step >= state.max_steps or ending_of(state) is not None


def seconds_of(state: TrainerState) -> float:
    """How long it had run when its last checkpoint was written."""
    spent = points(state, SECONDS)
    return spent[-1][1] if spent else 0.0
