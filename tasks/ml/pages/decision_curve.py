"""The picture of a decision curve: net benefit against the probability from which on one would act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from matplotlib.ticker import FuncFormatter

from tasks.ml.arrays import Floats
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.net_benefit import net_benefits
from tasks.ml.pages.pictures import BASELINES, FAINT, MODEL, paper, png
from tasks.ml.pages.report_figures import SUBJECTS

DRAWN: Final = tuple(np.linspace(0.01, 0.6, 60).round(3).tolist())


def decision_curve(given: Sample, critical: int, scored: Mapping[str, Floats]) -> bytes:
    """`scored`: name -> (reports, labels), the model first; `given`: what the reports are."""
    alone = np.ones((1, given.patients))
    figure, axes = paper("Decision curve: what acting on it is worth")
    every: Floats = np.zeros(len(DRAWN))
    top = 0.0
    for name, probabilities in list(scored.items())[::-1]:
        model, all_of_them = net_benefits(replace(given, probabilities=probabilities), critical, DRAWN, alone)
        every, top = all_of_them[0], max(top, float(model.max()))
        colour, dash = BASELINES.get(name, (MODEL, "-"))
        width = 1.3 if name in BASELINES else 2.4
        axes.plot(
            DRAWN, model[0], dash, color=colour, linewidth=width, label=SUBJECTS.get(name, "this model")
        )
    axes.plot(DRAWN, every, ":", color="#22303c", linewidth=1.2, label="acting on every report")
    axes.axhline(0, color="#22303c", linewidth=0.8)
    axes.set(xlim=(0, 0.6), ylim=(-0.15 * top - 0.005, 1.6 * top + 0.005))
    axes.set_xlabel("probability from which on one acts")
    axes.set_ylabel("net benefit, a report (0: acting on none)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f}"))
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles, names, loc="upper right", fontsize=9, framealpha=1, edgecolor=FAINT)
    return png(figure)
