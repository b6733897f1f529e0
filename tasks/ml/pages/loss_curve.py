"""The curve of a training, for a model's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import ScalarFormatter

from tasks.ml.pages.document import Block, Heading, Paragraph, Picture
from tasks.ml.pages.pictures import MODEL, REVIEW, paper, png
from tasks.ml.training.body_training import Ending, Precision, how_it_ended

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Learnt:
    """One stage of a training. losses and held_out: (step, nats); kept_step: whose weights were kept."""

    name: str
    losses: Points
    held_out: Points
    steps: int
    planned_steps: int
    kept_step: int
    ended: Ending
    precision: Precision = "float32"


def learnt_blocks(stages: Sequence[Learnt]) -> list[Block]:
    """A section of a model's report; none where its network was not trained with it."""
    blocks: list[Block] = []
    for one in stages:
        told = how_it_ended(one.steps, one.planned_steps, one.kept_step, one.ended, one.precision)
        blocks.append(Paragraph(f"{one.name.capitalize()}: {told}."))
        if one.losses:
            kept = one.kept_step if one.kept_step != one.steps else None
            picture = loss_curve(f"Loss of the {one.name}, by step", one.losses, one.held_out, kept)
            blocks.append(Picture(picture, f"Loss of the {one.name} by step"))
    return [Heading("How it learnt"), *blocks] if blocks else []


def loss_curve(title: str, losses: Points, held_out: Points = (), kept_step: int | None = None) -> bytes:
    """A PNG: training loss and, where there is any, that of held-out reports; a dot at the weights kept."""
    figure, axes = paper(title, height=3.2)
    drawn = [("training", losses, MODEL)] + ([("held out", held_out, REVIEW)] if held_out else [])
    for name, points, colour in drawn:
        axes.plot([step for step, _ in points], [loss for _, loss in points], color=colour, label=name)
    if kept_step is not None:
        kept = dict(held_out)[kept_step]
        axes.plot(kept_step, kept, "o", color=REVIEW, label="kept")
    axes.set_xlabel("step")
    axes.set_ylabel("cross-entropy, nats")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
    if held_out:
        axes.legend(frameon=False)
    return png(figure)
