"""The one picture of the page "tonight": what was answered, night by night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from tasks.ml.pages.pictures import REVIEW, paper, png

# a label keeps its colour from night to night, and none is REVIEW's: that one is what a person must do
COLOURS = ("#0f6a8c", "#c0463d", "#5d9660", "#7b6cb0", "#b07a4f", "#8b97a3")
# one round of colours after the other; none is the hatch of what is left to a person
HATCHES = (None, "...", "xxx", "+++", "ooo")
LABELLED_DAYS = 8
NAME_LETTERS = 24


def nights(
    days: Sequence[date], sure: Mapping[str, Sequence[int]], review: Sequence[int], title: str
) -> bytes:
    """Stacked bars, one a day: sure answers by label, then what was left to a person.

    sure: label -> reports on each of `days`; review: reports on each of `days`.
    """
    names = [*(_short(name) for name in sure), "left to a person"]
    columns = min(4, int(5 / (0.55 + 0.075 * max(map(len, names)))))  # of 5 inches: handle, gap and letters
    figure, axes = paper(title, height=3 + 0.2 * -(-len(names) // columns))
    base = [0] * len(days)
    shown = [
        (_short(name), counts, COLOURS[at % len(COLOURS)], HATCHES[at // len(COLOURS) % len(HATCHES)])
        for at, (name, counts) in enumerate(sure.items())
    ]
    for name, counts, colour, hatch in [*shown, ("left to a person", review, REVIEW, "///")]:
        axes.bar(
            range(len(days)),
            counts,
            0.7,
            bottom=base,
            label=name,
            color=colour,
            hatch=hatch,
            edgecolor="white",
        )
        base = [below + count for below, count in zip(base, counts, strict=True)]
    every = -(-len(days) // LABELLED_DAYS)
    # counted back from today, so that the last bar is always named
    named = sorted(range(len(days) - 1, -1, -every))
    axes.set_xticks(named, [f"{days[at]:%d %b}" for at in named])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_ylim(0, max([*base, 1]) * 1.05)
    axes.set_ylabel("answers")
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    figure.legend(ncols=columns, frameon=False, fontsize=9, loc="outside lower left", columnspacing=1.2)
    return png(figure)


def _short(label: str) -> str:
    return label if len(label) <= NAME_LETTERS else label[: NAME_LETTERS - 1] + "…"
