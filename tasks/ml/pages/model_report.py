"""What a physician reads about a model before trusting it: figures beside cheap answers, and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import numpy as np

from tasks.ml.arrays import Bools, Floats, Ints
from tasks.ml.judging.evaluation import Figure
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.rules import Reason
from tasks.ml.network.conformal import Thresholds, decide
from tasks.ml.network.familiarity import Limit, explained
from tasks.ml.pages import pictures
from tasks.ml.pages.decision_curve import decision_curve
from tasks.ml.pages.document import Block, Bullets, Heading, Paragraph, Picture, Table, as_html, as_markdown
from tasks.ml.pages.loss_curve import Learnt, learnt_blocks
from tasks.ml.pages.report_figures import SUBJECTS, behaviour_blocks, by_name, figure_blocks, shown
from tasks.ml.pages.report_slices import benefit_blocks, calibration_blocks, slice_blocks

Outcome = Literal["promoted", "refused", "waiting", "unchanged"]

STILL_WAITS: Final = "It met every rule and does not answer yet"

CAVEAT: Final = (
    "This model learnt from synthetic reports. They were written from WDBC, a table of nuclear measurements "
    "of fine-needle aspirates: measurements, not reports. Figures on such text show that the pipeline works; "
    "they are no clinical validation."
)


@dataclass(frozen=True)
class Count:
    """How many reports of one label and origin stand in one split, and of how many patients."""

    origin: str
    label: str
    split: str
    reports: int
    patients: int


@dataclass(frozen=True)
class ReportFacts:
    """Everything a model report is written from.

    figures: subject ("model", or a baseline's name) -> its figures on the whole holdout; by_origin: origin ->
    the model's figures on holdout labels of that origin, where there are several; behaviour: its figures on
    its behaviour suite, where it has one; scored: "model" and the
    baselines -> (holdout reports, labels) probabilities; labels_idx: (holdout reports,) the truth;
    unfamiliar: (holdout reports,) which are unlike the training reports, where the model can tell; learnt:
    the stages of the training of its network, where that was trained for it.
    """

    classifier: str
    model_id: int
    labels: Sequence[str]
    critical: str
    trained: Literal["full", "head"]
    encoder: str
    snapshot_sha: str
    created_at: datetime
    counts: Sequence[Count]
    figures: Mapping[str, Sequence[Figure]]
    scored: Mapping[str, Floats]
    labels_idx: Ints
    thresholds: Thresholds
    decision: Outcome
    reasons: Sequence[Reason]
    by_origin: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    behaviour: Sequence[Figure] = ()
    familiarity: Limit | None = None
    unfamiliar: Bools | None = None
    learnt: Sequence[Learnt] = ()


@dataclass(frozen=True)
class ModelReport:
    """The same report twice: Markdown under 200 kB for Prefect's UI, and a self-contained HTML page."""

    markdown: str
    html: str


def model_report(facts: ReportFacts) -> ModelReport:
    """Write the report. It holds counts, figures and label names; no text of any report."""
    blocks = [
        Heading(f"Model {facts.model_id} for {facts.classifier}", level=1),
        *_summary(facts),
        *_decision(facts),
        *_training(facts),
        *learnt_blocks(facts.learnt),
        *figure_blocks(facts.figures, facts.by_origin, facts.labels, facts.critical),
        *_pictures(facts),
        *_per_label(facts),
        *slice_blocks(facts.figures["model"], facts.critical),
        *calibration_blocks(facts.figures),
        *benefit_blocks(facts.figures["model"], facts.critical, _curve(facts)),
        *behaviour_blocks(facts.behaviour),
        *_review(facts),
        *_limits(facts),
    ]
    title = f"Model {facts.model_id} for {facts.classifier}"
    return ModelReport(as_markdown(blocks), as_html(blocks, title))


def outcome_told(decision: Outcome, model_id: int) -> str:
    """What became of the model: the first sentence of its report."""
    return {
        "promoted": "Promoted: it answers from now on.",
        "refused": "Refused: the previous champion, if there is one, goes on answering.",
        "waiting": (
            f"{STILL_WAITS}: it waits for a person, or for reports to score along. "
            f"laudos models show {model_id} tells what became of it."
        ),
        "unchanged": "Nothing was decided anew.",
    }[decision]


def _summary(facts: ReportFacts) -> list[Block]:
    ours = by_name(facts.figures["model"])
    sensitivity, specificity, auroc = (
        shown(ours[name, "all"]) for name in ("sensitivity", "specificity", "auroc_report")
    )
    patients = ours["accuracy_patient", "all"].n if ("accuracy_patient", "all") in ours else 0
    blocks: list[Block] = [
        Paragraph(outcome_told(facts.decision, facts.model_id), strong=True),
        Paragraph(
            f"It reads a report and answers with one of {len(facts.labels)} labels: "
            f"{', '.join(facts.labels)}. The one that must not be missed is {facts.critical}. "
            f"Judged on {len(facts.labels_idx)} reports it had never seen: sensitivity {sensitivity}, "
            f"the share of the {facts.critical} reports it "
            f"called so; specificity {specificity}, the share of the others it did not; AUROC {auroc}."
        ),
    ]
    if patients:
        blocks.append(
            Paragraph(
                "Figures in parentheses are 95 % intervals over patients: what other patients of the same "
                f"kind may show. {patients} patients have one label throughout and count in the figures "
                "per patient."
            )
        )
    if any(count.origin == "synthetic" for count in facts.counts):
        blocks.append(Paragraph(CAVEAT, strong=True))
    return blocks


def _decision(facts: ReportFacts) -> list[Block]:
    told = [f"{'✓ held' if r.passed else '✗ NOT HELD'}: {r.sentence}" for r in facts.reasons]
    return [Heading("The decision, rule by rule"), Bullets(told)] if told else []


def _training(facts: ReportFacts) -> list[Block]:
    how = {
        "full": "The whole network was trained.",
        "head": "Only the last layer was trained; the rest of the network stayed as it was.",
    }[facts.trained]
    kinds = sorted({(count.origin, count.label) for count in facts.counts})
    held = {(count.origin, count.label, count.split): count for count in facts.counts}
    splits = ("train", "calibration", "holdout")
    rows = [
        (label, origin, *(_reports_of(held.get((origin, label, split))) for split in splits))
        for origin, label in kinds
    ]
    return [
        Heading("What it learnt from"),
        Paragraph(
            f"{how} Encoder: {facts.encoder}. Training set {facts.snapshot_sha[:12]}, model made on "
            f"{facts.created_at:%Y-%m-%d}. All reports of a patient stand in one split, for ever."
        ),
        Table(("label", "said by", *splits), rows),
        Paragraph("Reports, and in parentheses how many patients they are of."),
    ]


def _pictures(facts: ReportFacts) -> list[Block]:
    probs, truth = facts.scored["model"], facts.labels_idx
    counts = np.zeros((len(facts.labels), len(facts.labels)))
    np.add.at(counts, (truth, np.argmax(probs, axis=1)), 1)
    scored = {"model": probs} | {name: facts.scored[name] for name in SUBJECTS if name in facts.scored}
    blocks: list[Block] = [
        Heading("Where it errs"),
        Picture(pictures.confusion(counts, facts.labels), "Confusion matrix on the holdout"),
    ]
    is_critical = truth == list(facts.labels).index(facts.critical)
    if is_critical.any() and not is_critical.all():
        roc = pictures.roc(scored, truth, facts.labels, facts.critical)
        precision = pictures.precision_recall(scored, truth, facts.labels, facts.critical)
        blocks += [Picture(roc, "ROC curves"), Picture(precision, "Precision-recall curves")]
    else:
        blocks.append(Paragraph(f"No curves: the holdout does not hold both {facts.critical} and others."))
    return [*blocks, Picture(pictures.calibration(probs, truth), "Calibration curve")]


def _curve(facts: ReportFacts) -> bytes | None:
    """The decision curve; None where none was measured, or the critical label or all others are lacking."""
    at = list(facts.labels).index(facts.critical)
    is_critical = facts.labels_idx == at
    measured = any(figure.name == "net_benefit" for figure in facts.figures["model"])
    if not measured or not is_critical.any() or is_critical.all():
        return None
    # patients play no part in what is drawn: each report counts once
    given = Sample.of(
        facts.scored["model"],
        facts.labels_idx,
        [str(one) for one in range(len(is_critical))],
        len(facts.labels),
    )
    compared = ("tfidf_word", "tfidf_char", "keyword_rule")
    scored = {name: facts.scored[name] for name in ("model", *compared) if name in facts.scored}
    return decision_curve(given, at, scored)


def _per_label(facts: ReportFacts) -> list[Block]:
    found = by_name(facts.figures["model"])
    names = ("recall", "precision", "f1") + (("auroc_report",) if len(facts.labels) > 2 else ())
    rows = [
        (
            label,
            str(found["recall", f"label={label}"].n),
            *(shown(found[name, f"label={label}"]) for name in names),
        )
        for label in facts.labels
    ]
    heads = {"recall": "recall", "precision": "precision", "f1": "F1", "auroc_report": "AUROC"}
    blocks: list[Block] = [
        Heading("Label by label"),
        Table(("label", "reports", *(heads[name] for name in names)), rows),
    ]
    absent = [label for label in facts.labels if found["recall", f"label={label}"].n == 0]
    if absent:
        blocks.append(
            Paragraph(f"The holdout holds no report of {', '.join(absent)}: nothing is known about it.")
        )
    return blocks


def _review(facts: ReportFacts) -> list[Block]:
    probs, truth = facts.scored["model"], facts.labels_idx
    sure = np.array([decision == "auto" for decision in decide(probs, facts.thresholds)])
    foreign = np.zeros(len(truth), np.bool_) if facts.unfamiliar is None else facts.unfamiliar
    unsure, sure = int((~sure & ~foreign).sum()), sure & ~foreign
    right = np.argmax(probs, axis=1) == truth
    fates = np.select([~sure, right], [1, 0], default=2)  # decided right, to a person, decided wrong
    counts = np.zeros((len(facts.labels), 3))
    np.add.at(counts, (truth, fates), 1)
    decided, wrong = int(sure.sum()), int((sure & ~right).sum())
    shown_to = len(truth) - decided
    return [
        Heading("Who goes to a person"),
        Paragraph(
            f"Of {len(truth)} holdout reports it decided {decided} alone ({decided / len(truth):.1%}), "
            f"{wrong} of them wrongly; {shown_to} ({shown_to / len(truth):.1%}) go to a person: {unsure} "
            f"because it is unsure, {int(foreign.sum())} because they are unlike the reports that taught it."
        ),
        Picture(pictures.review(counts, facts.labels), "Decided or sent to a person, by label"),
        Bullets(explained(facts.labels, facts.thresholds, facts.familiarity)),
    ]


def _limits(facts: ReportFacts) -> list[Block]:
    held = sorted({count.origin for count in facts.counts if count.split == "holdout"})
    limits = [
        f"The figures hold for reports like those of the holdout (truth said by: {', '.join(held)}). Another "
        "hospital, another way of writing or a new device may read differently: measure there first.",
        "An interval over few patients is itself uncertain; a figure on fewer than about five has none.",
        "The promise about wrong sure answers holds on average over patients like those it was calibrated "
        "on, and less surely where few patients stand behind many reports.",
        "It is a tool for sorting work, not a diagnosis and not a medical device: a physician decides.",
    ]
    return [Heading("Limits"), Bullets(limits)]


def _reports_of(count: Count | None) -> str:
    return "0" if count is None else f"{count.reports} ({count.patients})"
