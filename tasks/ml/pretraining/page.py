"""What came of a pre-training, on one page: whether it helped, what was read, and the loss curve. No text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tasks.ml.judging.comparison import Beside
from tasks.ml.pages.document import Block, Heading, Paragraph, Picture, Table, as_html, as_markdown
from tasks.ml.pages.loss_curve import loss_curve

Ending = Literal["md", "html"]


def pretraining_page(
    classifier: str, name: str, facts: Mapping[str, Any], found: Beside, patients: Sequence[str]
) -> dict[Ending, str]:
    """The page by ending. facts: of pretraining.json; patients: whose reports judged it."""
    title = f"Encoder {name}, pre-trained for {classifier}"
    blocks: list[Block] = [
        Heading(title, 1),
        Paragraph(verdict(found), strong=True),
        Paragraph(
            "The same head was fitted on the frozen encoder before and after pre-training, and judged on "
            f"{len(patients):,} reports of {len(set(patients)):,} patients of the calibration split, each by "
            "a head that the other half of them chose. Fine-tuning the whole network may find otherwise."
        ),
        Table(("", "before", "after"), _figures(facts, found)),
        Heading("What was read"),
        Table(("", ""), _read(facts)),
        Heading("Loss, step by step"),
        Picture(
            loss_curve("Loss of the words that were left out", facts["losses"]),
            "loss of the words asked for, by step",
        ),
    ]
    return {"md": as_markdown(blocks), "html": as_html(blocks, title)}


def verdict(found: Beside) -> str:
    """Whether it helped, in a sentence."""
    points = f"{100 * found.figure:+.1f} points of macro F1"
    if found.low is None or found.high is None:
        return f"{points}, on too few patients for an interval: nothing can be said."
    between = f"{points} (95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f})"
    if found.low > 0:
        return f"It helped: {between}."
    return f"It did harm: {between}." if found.high < 0 else f"No difference was seen: {between}."


def _figures(facts: Mapping[str, Any], found: Beside) -> list[tuple[str, str, str]]:
    before, after = facts["exam"]["before"], facts["exam"]["after"]
    rows = [
        ("macro F1 of a head", f"{found.other_f1_macro:.3f}", f"{found.f1_macro:.3f}"),
        ("perplexity", f"{before['perplexity']:,.1f}", f"{after['perplexity']:,.1f}"),
        ("words guessed right", _right(before), _right(after)),
    ]
    if facts["pairs"] is not None:  # before it was taught, its answer was drawn
        rows.append(("following parts told from foreign ones", "", _right(facts["pairs"])))
    return rows


def _right(found: Mapping[str, Any]) -> str:
    return f"{found['right'] / found['asked']:.1%}"


def _read(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    config, reports = facts["config"], facts["reports"]
    return [
        ("started from", config["start"]["name"] or "scratch"),
        ("reports with a label", f"{reports['labelled']:,}"),
        ("reports without", f"{reports['unlabelled']:,}"),
        ("patients, all of the training split", f"{reports['patients']:,}"),
        ("windows", f"{facts['read']['windows']:,}"),
        ("tokens", f"{facts['read']['tokens']:,}"),
        ("steps", f"{facts['steps']:,}"),
        ("computed in", facts.get("precision", "not recorded")),
        ("epochs", f"{config['training']['epochs']:g}"),
        ("left out", facts["asked"]),
        ("seed", str(config["seed"])),
    ]
