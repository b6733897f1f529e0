"""How a network learnt, point by point and why it ended: figures of the model, which its report draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from db.metrics import Metric
from tasks.ml.pages.loss_curve import Learnt
from tasks.ml.training.body_training import TrainLog

# populations of such figures, in the order in which a network goes through them
STAGES: Final = ("lessons", "training")
LOSS, HELD = "loss", "held_out_log_loss"
_SLICE = "step="


@dataclass(frozen=True)
class Stage:
    """One stage of a training: what it did, on so many texts, with so many reports held out."""

    log: TrainLog
    texts: int
    held_out: int = 0


def curve_rows(stages: Mapping[str, Stage]) -> Iterator[Metric]:
    """Every point of every curve; its slice is such as step=40."""
    for name, stage in stages.items():
        for figure, points, n in (
            (LOSS, stage.log.losses, stage.texts),
            (HELD, stage.log.held_losses, stage.held_out),
        ):
            for step, value in points:
                yield Metric("model", name, f"{_SLICE}{step}", figure, value, None, None, n)


def recorded(stages: Mapping[str, Stage]) -> dict[str, dict[str, Any]]:
    """What laudos.json says of each: another training that is to be the same must come to it."""
    return {name: dict(stage.log.record) for name, stage in stages.items()}


def learnt(name: str, rows: Sequence[Metric], record: Mapping[str, Any] | None) -> Learnt | None:
    """A stage as the report tells it, from its figures and its record; None where there are none."""
    if not rows or record is None:
        return None
    points = {
        figure: [
            (int(row.slice.removeprefix(_SLICE)), row.value)
            for row in rows
            if row.name == figure and row.value is not None
        ]
        for figure in (LOSS, HELD)
    }
    return Learnt(name, points[LOSS], points[HELD], **record)
