"""The parts of a model report that look closer: slices, what acting on it is worth, other calibrations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tasks.ml.judging.evaluation import Figure
from tasks.ml.judging.net_benefit import THRESHOLDS
from tasks.ml.judging.recalibration import clearly_better
from tasks.ml.judging.slices import SMALL_CRITICAL, SMALL_PATIENTS
from tasks.ml.pages.document import Block, Bullets, Heading, Paragraph, Picture, Table
from tasks.ml.pages.report_figures import Figures, by_name, shown

# two tables, here and on the card: a page in the UI shows no more columns without scrolling sideways
RIGHT: Final = {"sensitivity": "sensitivity", "specificity": "specificity"}
BESIDE: Final = {"auroc_report": "AUROC", "ece": "ECE ↓", "review_share": "to a person"}
WAYS: Final = {"uncalibrated": "none", "platt": "Platt", "isotonic": "isotonic"}


def slice_blocks(figures: Sequence[Figure], critical: str) -> list[Block]:
    """A model's figures slice by slice; nothing for a model that was measured before there were slices."""
    found = by_name(figures)
    names = [figure.slice for figure in figures if figure.name == "small"]
    if not names:
        return []
    blocks: list[Block] = [Heading("Slice by slice")]
    if names == ["all"]:
        return [*blocks, Paragraph("Nothing is recorded by which the holdout reports differ.")]
    notes = [
        f"† small: fewer than {SMALL_PATIENTS} patients, or {SMALL_CRITICAL} with a report of {critical}. "
        "Its figures may be far off; none is left out.",
        "Reports, and in parentheses how many patients they are of; intervals over patients, who may stand "
        "in several slices. An ECE on few reports reads too high.",
    ]
    ordered = in_order(names)
    right = [_row(found, name, RIGHT) for name in ordered]
    beside = [_row(found, name, BESIDE, sized=False) for name in ordered]
    sizes = Table(("slice", "reports", critical, *RIGHT.values()), right)
    others = Table(("slice", *BESIDE.values()), beside)
    return [*blocks, sizes, others, *_groups(found, names), Bullets(notes)]


def _groups(found: Figures, names: Sequence[str]) -> list[Block]:
    """How far each protected group is from all others; nothing where there is none."""
    rows = [
        (
            name.replace("=", ": ", 1) + (" †" if found["small", name].value else ""),
            *(_signed(found[f"{each}_difference", name]) for each in ("sensitivity", "review_share")),
        )
        for name in in_order(names)
        if ("sensitivity_difference", name) in found
    ]
    head = ("group less all others", "sensitivity", "to a person")
    return [Table(head, rows)] if rows else []


def _row(found: Figures, name: str, columns: Mapping[str, str], *, sized: bool = True) -> tuple[str, ...]:
    mark = " †" if found["small", name].value else ""
    called = "all reports" if name == "all" else name.replace("=", ": ", 1)
    of = (found[each, name] for each in _SIZES if sized)
    counts = (f"{one.n} ({one.value or 0:.0f})" for one in of)
    return called + mark, *counts, *(shown(found.get((column, name))) for column in columns)


_SIZES: Final = ("patients", "critical_patients")


def in_order(names: Sequence[str]) -> list[str]:
    """Slices as a reader looks for them: the whole first, then by field."""
    return sorted(names, key=lambda name: (name != "all", _order(name)))


def _order(name: str) -> tuple[str, list[tuple[int, str]]]:
    """By field, then by value, numbers in it as numbers."""
    field, _, value = name.partition("=")
    return field, [
        (int(part or 0), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", value)
    ]


def benefit_blocks(figures: Sequence[Figure], critical: str, picture: bytes | None) -> list[Block]:
    """Decision curve analysis (Vickers & Elkin 2006); picture: the curve, None where it cannot be drawn."""
    found = by_name(figures)
    if ("net_benefit", f"threshold={THRESHOLDS[0]:g}") not in found:
        return []
    rows = [
        (
            f"{at:g}",
            f"{(1 - at) / at:.3g}",
            *(
                _plain(found.get((name, f"threshold={at:g}")))
                for name in ("net_benefit", "net_benefit_every")
            ),
            _signed(found.get(("net_benefit_gain", f"threshold={at:g}"))),
        )
        for at in THRESHOLDS
    ]
    told = Paragraph(
        f"Suppose that whoever is called {critical} with at least the probability on the left is acted on: "
        "the report is read first, the patient called in. Net benefit is the share that is rightly acted on, "
        "less the share that is wrongly, at the price that the probability sets: so many false alarms weigh "
        "as much as one miss. Acting on nobody is worth 0; the gain is over the better of every report and "
        "none."
    )
    head = ("probability", "false alarms a miss", "this model", "on every report", "gain over every and none")
    curve = [] if picture is None else [Picture(picture, "Decision curve")]
    return [Heading("What acting on it is worth"), told, *curve, Table(head, rows)]


def calibration_blocks(figures: Mapping[str, Sequence[Figure]]) -> list[Block]:
    """The shipped temperature beside other ways, each fitted on the calibration split; subject -> figures."""
    others = {way: figures[way] for way in WAYS if way in figures}
    if not others:
        return []
    ours = by_name(figures["model"])
    rows: list[tuple[str, ...]] = [
        ("temperature (shipped)", _plain(ours["ece", "all"]), "", _plain(ours["brier", "all"]), "")
    ]
    for way, theirs in others.items():
        found = by_name(theirs)
        pairs = (
            (_plain(found.get((name, "all"))), _signed(found.get((f"{name}_difference", "all"))))
            for name in ("ece", "brier")
        )
        rows.append((WAYS[way], *(cell for pair in pairs for cell in pair)))
    better = [WAYS[way] for way, theirs in others.items() if clearly_better(theirs)]
    verdict = (
        f"Clearly better than the temperature, in both figures: {'; '.join(better)}. The model still ships "
        "with its temperature, which a plain folder can carry: look at what the calibration split lacks."
        if better
        else "None is clearly better than the temperature in both figures, so the temperature it is."
    )
    head = ("probabilities set right by", "ECE ↓", "less the shipped", "Brier ↓", "less the shipped")
    notes = (
        "None: as the last layer came out of its fit. Platt's and isotonic curves take each label against "
        "the rest. All were fitted on the calibration split and are judged here, on the holdout."
    )
    return [Heading("Other calibrations"), Table(head, rows), Paragraph(f"{verdict} {notes}")]


def _plain(figure: Figure | None) -> str:
    """Without its interval: a difference beside it has one."""
    return shown(figure) if figure is None or figure.value is None else f"{figure.value:.3f}"


def _signed(figure: Figure | None) -> str:
    """With a sign, for what may be negative."""
    if figure is None or figure.value is None:
        return shown(figure)
    if figure.low is None or figure.high is None:
        return f"{figure.value:+.3f}"
    return f"{figure.value:+.3f} ({figure.low:+.2f} to {figure.high:+.2f})"
