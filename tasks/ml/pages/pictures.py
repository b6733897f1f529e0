"""The pictures of a model report: PNG bytes, legible at 480 pixels, under 40 kB each.

Drawn on matplotlib's Agg canvas directly: no pyplot, no global state, no display.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from tasks.ml.arrays import Floats, Ints
from tasks.ml.judging.measures import ECE_BINS, confidence_bin
from tasks.ml.pages.report_figures import SUBJECTS

MODEL: Final = "#0f6a8c"
WRONG: Final = "#c0463d"
REVIEW: Final = "#dda63a"
INK: Final = "#22303c"
FAINT: Final = "#d5dce2"
# each baseline keeps its colour and dash in every picture and in every report
BASELINES: Final = {
    "tfidf_word": ("#7b6cb0", "-"),
    "tfidf_char": ("#b07a4f", "-"),
    "measurements": ("#5d9660", "--"),
    "keyword_rule": ("#8b97a3", "--"),
    "majority": ("#b9c2ca", ":"),
}
SHADES: Final = LinearSegmentedColormap.from_list("laudos", ["#ffffff", "#9cc9d9", MODEL])
CURVE_POINTS: Final = 300  # more cannot be seen
NUMBERED_LABELS: Final = 8  # more labels than this and the cells are too small for counts


def confusion(counts: ArrayLike, labels: Sequence[str]) -> bytes:
    """counts: (true label, said label), whole numbers. Shaded by the share of the true label's reports."""
    table = np.asarray(counts, dtype=np.float64)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure, axes = paper("What the reports are, and what the model said", height=4.6)
    # a root scale: among many labels the errors are a few per cent each, and they are what one looks for
    axes.imshow(shares, cmap=SHADES, norm=PowerNorm(1 if len(labels) <= NUMBERED_LABELS else 0.5, 0, 1))
    size = 10 if len(labels) <= NUMBERED_LABELS else max(4.5, 9 - len(labels) / 8)
    named = [_short(label, 16 if len(labels) <= NUMBERED_LABELS else 9) for label in labels]
    upright = sum(map(len, named)) > 40
    axes.set_xticks(range(len(labels)), named, fontsize=size, rotation=90 if upright else 0)
    axes.set_yticks(range(len(labels)), named, fontsize=size)
    axes.set_xlabel("said by the model")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    if len(labels) <= NUMBERED_LABELS:
        for (true, said), count in np.ndenumerate(table):
            colour = "white" if shares[true, said] > 0.55 else INK
            told = f"{count:.0f}\n{shares[true, said]:.1%}"
            axes.text(said, true, told, ha="center", va="center", color=colour, fontsize=size)
    return png(figure)


def roc(
    scored: Mapping[str, ArrayLike], labels_idx: ArrayLike, labels: Sequence[str], critical: str
) -> bytes:
    """ROC curves for `critical` against the rest; scored: name -> (reports, labels), the model first.

    The holdout must hold reports of `critical` and others (as for precision_recall).
    """
    at = list(labels).index(critical)
    is_critical = np.asarray(labels_idx) == at
    figure, axes = paper(f"ROC: {_short(critical, 30)} against the rest")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    drawn_on = [axes]
    probs = np.asarray(next(iter(scored.values())))
    if roc_auc_score(is_critical, probs[:, at]) > 0.9:  # such a curve lives in the corner: show that larger
        closer = axes.inset_axes((0.3, 0.42, 0.66, 0.5))
        closer.set(xlim=(-0.004, 0.25), ylim=(0.75, 1.004), xticks=[0, 0.1, 0.2], yticks=[0.8, 0.9, 1.0])
        _dress(closer)
        drawn_on.append(closer)
    said = np.argmax(probs, axis=1) == at
    for each in drawn_on:
        for name, probabilities in list(scored.items())[::-1]:
            false_alarms, caught, _ = roc_curve(is_critical, np.asarray(probabilities)[:, at])
            _curve(each, name, false_alarms, caught)
        # where the model stands when it gives the most probable label
        each.plot(said[~is_critical].mean(), said[is_critical].mean(), "o", color=MODEL, markersize=7)
    axes.set_xlabel("false alarms: 1 - specificity")
    axes.set_ylabel("caught: sensitivity")
    _share_axes(axes)
    _legend(axes, "lower right")
    return png(figure)


def precision_recall(
    scored: Mapping[str, ArrayLike], labels_idx: ArrayLike, labels: Sequence[str], critical: str
) -> bytes:
    """Precision against sensitivity for `critical`; scored: name -> (reports, labels), the model first."""
    at = list(labels).index(critical)
    is_critical = np.asarray(labels_idx) == at
    figure, axes = paper(f"Precision and sensitivity: {_short(critical, 28)}")
    axes.axhline(is_critical.mean(), color=FAINT, linewidth=1)
    for name, probabilities in list(scored.items())[::-1]:
        precision, caught, _ = precision_recall_curve(is_critical, np.asarray(probabilities)[:, at])
        _curve(axes, name, caught[::-1], precision[::-1], drawstyle="steps-pre")
    axes.set_xlabel("caught: sensitivity")
    axes.set_ylabel("right when it says so: precision")
    _share_axes(axes)
    _legend(axes, "lower left")
    return png(figure)


def calibration(probabilities: ArrayLike, labels_idx: ArrayLike) -> bytes:
    """How often the model is right against how sure it said it was; below, how many reports stand there."""
    probs, truth = np.asarray(probabilities), np.asarray(labels_idx)
    sure, right = probs.max(axis=1), np.argmax(probs, axis=1) == truth
    bins = confidence_bin(sure)
    count = np.bincount(bins, minlength=ECE_BINS)
    held = count > 0
    mean_sure = np.bincount(bins, sure, ECE_BINS)[held] / count[held]
    share_right = np.bincount(bins, right, ECE_BINS)[held] / count[held]
    figure, axes = paper("As sure as it should be?", rows=(3, 1))
    below = figure.axes[1]
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    axes.plot(mean_sure, share_right, color=MODEL, linewidth=1.2)
    area = 20 + 130 * count[held] / count.max()
    axes.scatter(mean_sure, share_right, s=area, color=MODEL, zorder=3, clip_on=False)
    axes.set_ylabel("right")
    start = np.floor(sure.min() * 10) / 10
    axes.set(xlim=(start, 1), ylim=(0, 1.02))
    axes.tick_params(labelbottom=False)
    axes.annotate("too sure", (0.98, 0.06), xycoords="axes fraction", ha="right", color=INK, alpha=0.7)
    axes.annotate("not sure enough", (0.02, 0.92), xycoords="axes fraction", color=INK, alpha=0.7)
    below.bar((np.arange(ECE_BINS) + 0.5) / ECE_BINS, count, width=0.85 / ECE_BINS, color=MODEL, alpha=0.6)
    below.set_xlim(start, 1)
    below.set_xlabel("probability of the label it gave")
    below.set_ylabel("reports")
    below.yaxis.set_major_formatter(ScalarFormatter())
    return png(figure)


def review(counts: ArrayLike, labels: Sequence[str]) -> bytes:
    """Who goes to a person. counts: (labels, 3) reports decided right, sent to a person, decided wrong."""
    table = np.asarray(counts, dtype=np.float64)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    many = len(labels) > NUMBERED_LABELS
    figure, axes = paper("Decided alone, or shown to a person", height=min(5.6, 1.9 + 0.42 * len(labels)))
    left = np.zeros(len(labels))
    parts = (
        ("decided, right", MODEL, "white"),
        ("to a person", REVIEW, INK),
        ("decided, wrong", WRONG, "white"),
    )
    for column, (name, colour, ink) in enumerate(parts):
        axes.barh(range(len(labels)), shares[:, column], left=left, color=colour, label=name, height=0.7)
        for row, share in enumerate(shares[:, column]):
            if share > 0.08 and not many:
                axes.text(left[row] + share / 2, row, f"{share:.0%}", ha="center", va="center", color=ink)
        left += shares[:, column]
    size = 10 if not many else max(5, 9 - len(labels) / 10)
    axes.set_yticks(range(len(labels)), [_short(label, 16) for label in labels], fontsize=size)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("share of the label's holdout reports")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, frameon=False, columnspacing=1.2)
    return png(figure)


def paper(title: str, *, height: float = 4.4, rows: tuple[int, ...] = (1,)) -> tuple[Figure, Axes]:
    """A figure of 5.2 inches at 120 dpi with the house's look; returns its first axes."""
    figure = Figure(figsize=(5.2, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": rows})
    figure.suptitle(title, fontsize=12, color=INK, fontweight="bold", x=0.02, ha="left")
    for axes in grid[:, 0]:
        axes.spines[["top", "right"]].set_visible(False)
        _dress(axes)
    first: Axes = grid[0, 0]
    return figure, first


def _dress(axes: Axes) -> None:
    axes.spines[:].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _curve(axes: Axes, name: str, across: Floats, up: Floats, **style: Any) -> None:
    colour, dash = BASELINES.get(name, (MODEL, "-"))
    width = 2.4 if name not in BASELINES else 1.3
    kept = _thinned(len(across))
    axes.plot(
        across[kept],
        up[kept],
        dash,
        color=colour,
        linewidth=width,
        label=SUBJECTS.get(name, "this model"),
        **style,
    )


def _thinned(points: int) -> Ints | NDArray[np.intp]:
    if points <= CURVE_POINTS:
        return np.arange(points)
    return np.unique(np.linspace(0, points - 1, CURVE_POINTS).round().astype(np.intp))


def _share_axes(axes: Axes) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))


def _legend(axes: Axes, place: str) -> None:
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], loc=place, fontsize=9, framealpha=1, edgecolor=FAINT)


def _short(label: str, letters: int) -> str:
    return label if len(label) <= letters else label[: letters - 1] + "…"


def png(figure: Figure) -> bytes:
    """The figure as a small PNG; the same figure gives the same bytes."""
    written = io.BytesIO()
    # no Software chunk: the same figures give the same bytes, whatever wrote them
    figure.savefig(written, format="png", dpi=120, metadata={"Software": None})
    drawn = Image.open(written).convert("RGB")
    small = io.BytesIO()
    # a palette is a third of the bytes; at 64 colours no eye sees the difference
    drawn.quantize(64, method=Image.Quantize.MEDIANCUT).save(small, format="png", optimize=True)
    return small.getvalue()
