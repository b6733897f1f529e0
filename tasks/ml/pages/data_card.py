"""What a training set is made of and what it must not be used for: counts and seeds, no word of a report.

The questions are those of Gebru et al. 2021, "Datasheets for Datasets" (Communications of the ACM 64:12),
as far as the database can answer them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from tasks.ml.pages.document import Block, Bullets, Heading, Paragraph, Table, as_html, as_markdown
from tasks.ml.splits import CALIBRATION_SHARE, SPLITS, TRAIN_SHARE

# exam -> what its reports were written from, and so what they cannot show
WRITTEN_FROM: Final = {
    "paaf": "WDBC, a table of nuclear measurements of 569 fine-needle aspirates: measurements, not reports",
    "mammography": "made-up examinations, drawn with odds that publications give for groups of women: nobody "
    "was examined",
}
_ANY_EXAM: Final = "a table of measurements: no hospital wrote them"


@dataclass(frozen=True)
class Cell:
    """So many reports of one kind in one split, and of how many patients where that is counted."""

    kind: tuple[str, ...]
    split: str
    reports: int
    patients: int | None = None


@dataclass(frozen=True)
class Dated:
    """A source's reports from the first to the last date that they bear; None where they bear none."""

    source: str
    origin: str
    reports: int
    first: date | None
    last: date | None


@dataclass(frozen=True)
class Written:
    """The synthetic set in force when the training set was frozen, as it was recorded and audited.

    `kept`: hard reports of earlier sets in it; `audit`: figures and names of checks.
    """

    exam: str
    mode: str
    seed: int
    reports_per_row: int
    rows: int
    reports: int
    reserved_share: float
    kept: int
    sha: str
    audit: Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """Everything a data card is written from.

    `counts` by label and origin; `institutions` by institution and label, `seeds` by seed: the synthetic
    reports only; `left_out`: labelled reports whose label the classifier does not know.
    """

    snapshot_id: int
    classifier: str
    sha: str
    reports: int
    frozen_at: datetime
    run_id: int
    code_revision: str
    origins: Sequence[str]
    left_out: int
    counts: Sequence[Cell]
    sources: Sequence[Dated]
    institutions: Sequence[Cell]
    seeds: Sequence[Cell]
    written: Written | None


@dataclass(frozen=True)
class DataCard:
    """The same card twice: Markdown for Prefect's UI and for an export, and a self-contained HTML page."""

    markdown: str
    html: str


def data_card(card: Card) -> DataCard:
    """Write the card."""
    title = f"Training set {card.snapshot_id} of {card.classifier}"
    blocks = [
        Heading(title, level=1),
        *_summary(card),
        *_contents(card),
        *_synthetic(card),
        *_audit(card),
        *_not_for(card),
    ]
    return DataCard(as_markdown(blocks), as_html(blocks, title))


def _summary(card: Card) -> list[Block]:
    blocks: list[Block] = [
        Paragraph(
            f"{card.reports} labelled reports, frozen on {card.frozen_at:%Y-%m-%d} by run {card.run_id} "
            f"(code {card.code_revision}). sha256 over contents, labels and splits: {card.sha}. Labels "
            f"that were asked for: {', '.join(card.origins)}. Left out, because the classifier does not know "
            f"their label: {card.left_out}."
        )
    ]
    if card.seeds:
        blocks.append(Paragraph(_caveat(card), strong=True))
    return blocks


def _caveat(card: Card) -> str:
    origin = WRITTEN_FROM.get(card.written.exam, _ANY_EXAM) if card.written else _ANY_EXAM
    return (
        f"Its synthetic reports were written from {origin}. Figures on such text show that the pipeline "
        "works; they are no clinical validation."
    )


def _contents(card: Card) -> list[Block]:
    dated = [
        (one.source, one.origin, str(one.reports), _day(one.first), _day(one.last)) for one in card.sources
    ]
    return [
        Heading("What is in it"),
        _by_split(("label", "said by"), card.counts),
        Paragraph(
            "Reports, and in parentheses how many patients (or rows of measurements) they are of. A hash of "
            f"the patient decides the split, for ever: {TRAIN_SHARE:.0%} of the patients teach, "
            f"{CALIBRATION_SHARE:.0%} calibrate, the rest judge. No patient stands in two splits."
        ),
        Heading("Where it comes from"),
        Table(("source", "label said by", "reports", "first dated", "last dated"), dated),
    ]


def _synthetic(card: Card) -> list[Block]:
    if not card.seeds:
        return []
    blocks: list[Block] = [Heading("How its synthetic reports were written")]
    if card.written is None:
        blocks.append(
            Paragraph(
                "No whole set stood recorded when this one was frozen: its synthetic reports were written "
                "before sets were recorded, or by a run that was cut off before its set was whole."
            )
        )
    else:
        blocks += [Paragraph(_how(card.written)), Paragraph(_again(card.classifier, card.written))]
        blocks += _beside(card, card.written)
    return [
        *blocks,
        _by_split(("institution", "label"), card.institutions),
        _by_split(("seed",), card.seeds),
    ]


def _how(one: Written) -> str:
    told = {
        "findings": "findings only, no conclusion",
        "full": "findings, and the conclusion that follows from them",
    }
    kept = (
        f"{one.kept} reports were kept from earlier sets, because the champion got them wrong or was unsure "
        "of them: they have earlier seeds, and the split they always had."
        if one.kept
        else "None was kept from an earlier set."
    )
    return (
        f"Exam {one.exam}, mode {one.mode} ({told.get(one.mode, 'a cautionary example')}). "
        f"{one.reports_per_row} reports on each of {one.rows} rows of measurements, {one.reports} in all; "
        f"{one.reserved_share:.0%} of the rows were reserved and are in no split. The writer sees the "
        f"measurements and never the label. Seed {one.seed}. {kept}"
    )


def _again(classifier: str, one: Written) -> str:
    return (
        f"The same set again: laudos synthesize --classifier {classifier} --seed {one.seed}, with the same "
        f"settings and code and this database's record of what was kept. Set {one.sha[:12]}."
    )


def _beside(card: Card, one: Written) -> list[Block]:
    """Where the synthetic reports here are not as many as the set has: what is told of it is not of them."""
    held = sum(cell.reports for cell in card.seeds)
    if held == one.reports or (held < one.reports and card.left_out):
        return []
    return [
        Paragraph(
            f"This training set holds {held} synthetic reports and that set has {one.reports}: another set's "
            "reports are among them, or some of its own are missing. What is told of the set and its audit "
            f'does not hold for all of them. Run "laudos synthesize --classifier {card.classifier}", then '
            f'"laudos retrain --classifier {card.classifier}".',
            strong=True,
        )
    ]


def _audit(card: Card) -> list[Block]:
    if card.written is None:
        return []
    found = card.written.audit
    verdict = "No check failed." if found["passed"] else "It failed, and should not have taught."
    rows = [
        (
            check["name"],
            check["state"],
            _figure(check.get("statistic")),
            _figure(check.get("threshold")),
            check["measure"] or check.get("note", ""),
        )
        for check in found["checks"]
    ]
    return [
        Heading("Whether its labels reach the text by another way than the findings"),
        Paragraph(f"{verdict} {found['reports']} of {found['of_reports']} reports were audited."),
        Table(("check", "result", "figure", "limit", "what the figure is"), rows, words=True),
    ]


def _not_for(card: Card) -> list[Block]:
    limits = [
        "A diagnosis, or any decision about a patient that no physician takes.",
        "A claim about how a model does in a hospital: measure on that hospital's own labelled reports.",
        "Teaching with the holdout or calibration split: figures on them would mean nothing from then on.",
        "Telling how common a label is: its share here is that of what was labelled, not of a population.",
        "Any language but that of its reports.",
    ]
    if card.seeds:
        limits += [
            "Clinical validation by its synthetic reports: no patient's report stands behind them.",
            "Teaching a model that is then judged on its rows of measurements, or on reports from them.",
        ]
    if any(one.origin != "synthetic" for one in card.sources):
        limits.append(
            "Being handed on: it counts reports of patients, and an export of the set holds their texts."
        )
    return [Heading("What it must not be used for"), Bullets(limits)]


def _by_split(head: tuple[str, ...], cells: Sequence[Cell]) -> Table:
    """A line a kind, in the order of the cells, and a column a split."""
    held = {(cell.kind, cell.split): cell for cell in cells}
    kinds = list(dict.fromkeys(cell.kind for cell in cells))
    rows = [(*kind, *(_reports(held.get((kind, split))) for split in SPLITS)) for kind in kinds]
    return Table((*head, *SPLITS), rows)


def _reports(cell: Cell | None) -> str:
    if cell is None:
        return "0"
    return str(cell.reports) if cell.patients is None else f"{cell.reports} ({cell.patients})"


def _day(day: date | None) -> str:
    return "-" if day is None else day.isoformat()


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
