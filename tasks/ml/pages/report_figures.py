"""The figures of a model report: the model beside every cheaper answer, and who is better at what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tasks.ml.judging.evaluation import Figure
from tasks.ml.pages.document import Block, Bullets, Heading, Paragraph, Table

FIRST_FIGURES: Final = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auroc_report": "AUROC per report",
    "auroc_patient": "AUROC per patient",
}
MORE_FIGURES: Final = {
    "auprc_report": "AUPRC",
    "f1_macro": "macro F1",
    "brier": "Brier ↓",
    "ece": "ECE ↓",
}
# what a baseline may be better at: not sensitivity or specificity, which saying one label always maximises
COMPARED: Final = {
    "auroc_report": "AUROC per report",
    "auroc_patient": "AUROC per patient",
    "auprc_report": "AUPRC per report",
    "f1_macro": "macro F1",
    "brier": "Brier score",
}
# what the parts of a behaviour suite are called; a kind of pairs bears its own name
BEHAVIOUR: Final = {
    "all": "all pairs",
    "invariance": "the answer should stay",
    "direction": "the answer should move",
    "cues_seen": "negation, as teaching reports word it",
    "cues_unseen": "negation, in words never taught",
}
LOWER_IS_BETTER: Final = frozenset({"brier", "ece"})
SUBJECTS: Final = {
    "tfidf_word": "TF-IDF, words",
    "tfidf_char": "TF-IDF, characters",
    "keyword_rule": "keyword rule",
    "majority": "most frequent label",
    "measurements": "measurements",
}

Figures = Mapping[tuple[str, str], Figure]  # (name, slice) -> figure


def by_name(figures: Sequence[Figure]) -> dict[tuple[str, str], Figure]:
    return {(figure.name, figure.slice): figure for figure in figures}


def shown(figure: Figure | None) -> str:
    """Value and 95 % interval; `not known` where it could not be computed."""
    if figure is None or figure.value is None:
        return "not known"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.2f}–{figure.high:.2f})"


def figure_blocks(
    figures: Mapping[str, Sequence[Figure]],
    by_origin: Mapping[str, Sequence[Figure]],
    labels: Sequence[str],
    critical: str,
) -> list[Block]:
    """figures: "model" and the baselines by name; by_origin: the model's, by who said the truth."""
    found = {subject: by_name(figures[subject]) for subject in ("model", *SUBJECTS) if subject in figures}
    blocks: list[Block] = [Heading("How good it is, beside cheaper answers")]
    for group in (FIRST_FIGURES, MORE_FIGURES):
        named = {SUBJECTS.get(subject, "this model"): theirs for subject, theirs in found.items()}
        blocks.append(_table("", named, group))
    notes = [
        f"Sensitivity and specificity are those of {critical} against the rest. ↓: lower is better.",
        "In parentheses: 95 % intervals over patients.",
    ]
    if len(labels) > 2:
        notes.append("AUROC and AUPRC are means over the labels, each against the rest.")
    if "measurements" in found:
        notes.append("The measurements are what synthetic texts are written from: the ceiling, not a rival.")
    blocks += [Bullets(notes), *(Paragraph(told, strong=True) for told in where_baselines_win(found))]
    if len(by_origin) > 1:
        origins = {origin: by_name(theirs) for origin, theirs in by_origin.items()}
        blocks.append(_table("this model, truth said by", origins, FIRST_FIGURES))
    return blocks


def _table(corner: str, rows: Mapping[str, Figures], columns: Mapping[str, str]) -> Table:
    cells = [
        (name, *(shown(found.get((column, "all"))) for column in columns)) for name, found in rows.items()
    ]
    return Table((corner, *columns.values()), cells)


def behaviour_blocks(figures: Sequence[Figure]) -> list[Block]:
    """A model's figures on its behaviour suite; nothing where it has none."""
    if not figures:
        return []
    rows = [
        (
            behaviour_words(figure.slice),
            str(round((figure.value or 0) * figure.n)),
            str(figure.n),
            shown(figure),
        )
        for figure in figures
    ]
    return [
        Heading("How it behaves"),
        Paragraph(
            "Pairs of made-up reports that differ in one thing: a negation, a side, a typing error, a "
            "finding more or less severe. A pair is right where the answer moves, or stays, as a reader's "
            "would."
        ),
        Table(("pairs", "right", "of", "share right"), rows),
        Paragraph(
            "In parentheses: 95 % intervals over pairs. laudos behaviour --failed shows those that are wrong."
        ),
    ]


def behaviour_words(part: str) -> str:
    """What a part of a behaviour suite is called."""
    return BEHAVIOUR.get(part, part.removeprefix("kind=").replace("_", " "))


def where_baselines_win(found: Mapping[str, Figures], ours: str = "this model") -> list[str]:
    """One sentence a baseline. `found`: "model" and the baselines; `ours`: what the model is called."""
    told = []
    for subject, theirs in found.items():
        if subject in ("model", "measurements"):
            continue
        better = [
            _won(name, theirs.get((name, "all")), found["model"].get((name, "all"))) for name in COMPARED
        ]
        if any(better):
            told.append(f"{SUBJECTS[subject]} is better than {ours}: {', '.join(filter(None, better))}.")
    return told or [f"No cheaper answer is better than {ours} on {', '.join(COMPARED.values())}."]


def _won(name: str, theirs: Figure | None, ours: Figure | None) -> str | None:
    """What the baseline is better at, in words; None where it is not."""
    if theirs is None or ours is None or theirs.value is None or ours.value is None:
        return None
    better = theirs.value < ours.value if name in LOWER_IS_BETTER else theirs.value > ours.value
    close = "; the intervals overlap" if _overlap(theirs, ours) else ""
    return f"{COMPARED[name]} ({theirs.value:.3f} against {ours.value:.3f}{close})" if better else None


def _overlap(one: Figure, other: Figure) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high
