"""A model's card, in Portuguese or English: what it is for, whom it was judged on, and what nobody validated.

The questions are those of Mitchell et al. 2019, "Model Cards for Model Reporting" (FAT*), as far as the
database can answer them. Counts and figures only: no text of any report.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal

from tasks.ml.judging.evaluation import Figure
from tasks.ml.judging.slices import SMALL_CRITICAL, SMALL_PATIENTS
from tasks.ml.network.conformal import Thresholds
from tasks.ml.pages.card_words import Language, Words, words
from tasks.ml.pages.data_card import Dated
from tasks.ml.pages.document import Block, Bullets, Heading, Paragraph, Table, as_html, as_markdown
from tasks.ml.pages.model_report import Count
from tasks.ml.pages.report_figures import SUBJECTS, Figures, by_name
from tasks.ml.pages.report_slices import BESIDE, RIGHT, in_order
from tasks.ml.splits import SPLITS

State = Literal["answering", "promoted", "waiting", "refused", "unjudged"]
# whom a model could treat differently; a field is named where no slice tells of it
GROUPS: Final = ("sex", "age", "race", "institution", "month")


@dataclass(frozen=True)
class Verdict:
    """The last decision about the model."""

    decision: str
    at: datetime
    actor: str
    plan_sha: str


@dataclass(frozen=True)
class CardFacts:
    """Everything a card is written from.

    figures: subject ("model", or a baseline's name) -> its figures on the whole holdout, slices among the
    model's; behaviour: share of the suite's pairs that it got right, None without a suite; thresholds: None
    where the folder is gone; exam: of the synthetic reports that taught it, None where none did; erased: how
    many of the reports that taught it were removed on request since; erased_perhaps: others may have.
    """

    classifier: str
    model_id: int
    state: State
    labels: Sequence[str]
    critical: str
    trained: Literal["full", "head"]
    encoder: str
    created_at: datetime
    code_revision: str
    run_id: int
    folder: str
    manifest_sha: str
    config_sha: str
    snapshot_id: int
    snapshot_sha: str
    exam: str | None
    counts: Sequence[Count]
    sources: Sequence[Dated]
    figures: Mapping[str, Sequence[Figure]]
    behaviour: Figure | None
    thresholds: Thresholds | None
    verdict: Verdict | None
    erased: int = 0
    erased_perhaps: bool = False


@dataclass(frozen=True)
class Card:
    """The same card twice: Markdown for Prefect's UI and the terminal, and a self-contained HTML page."""

    markdown: str
    html: str


def model_card(facts: CardFacts, language: Language) -> Card:
    """Write the card. Raises BadFile where the words of the language are not whole."""
    said = words(language)
    title = said.title.format(model=facts.model_id, classifier=facts.classifier)
    blocks: list[Block] = [
        Heading(title, level=1),
        *_summary(facts, said),
        Heading(said.headings.details),
        *_details(facts, said),
        Heading(said.headings.use),
        Bullets(said.use),
        Heading(said.headings.not_for),
        Bullets(said.not_for),
        Heading(said.headings.data),
        *_data(facts, said),
        Heading(said.headings.figures),
        *_figures(facts, said),
        Heading(said.headings.slices),
        *_slices(facts, said),
        Heading(said.headings.doubt),
        Bullets(_doubt(facts, said)),
        Heading(said.headings.limits),
        Bullets(said.limits),
        Heading(said.headings.ethics),
        Bullets(said.ethics),
        Heading(said.headings.provenance),
        Bullets(_provenance(facts, said)),
        Paragraph(said.source_note),
    ]
    return Card(as_markdown(blocks), as_html(blocks, title, said.language))


def _summary(facts: CardFacts, said: Words) -> list[Block]:
    found = by_name(facts.figures.get("model", ()))
    state = getattr(said.states, facts.state).format(classifier=facts.classifier)
    blocks: list[Block] = [Paragraph(state, strong=True)]
    if ("sensitivity", "all") in found:
        held = [count for count in facts.counts if count.split == "holdout"]
        named = {"sensitivity": "sensitivity", "specificity": "specificity", "auroc": "auroc_report"}
        shown = {name: _shown(found.get((figure, "all")), said) for name, figure in named.items()}
        review = found.get(("review_share", "all"))
        patients = found.get(("patients", "all"))
        told = said.summary.format(
            labels=", ".join(facts.labels),
            critical=facts.critical,
            reports=sum(count.reports for count in held),
            patients=said.not_known if patients is None else f"{patients.value or 0:.0f}",
            review=said.not_known if review is None or review.value is None else _share(review.value, said),
            **shown,
        )
        blocks.append(Paragraph(told))
    else:
        blocks.append(Paragraph(said.unmeasured))
    if facts.exam is not None:
        origin = said.written_from.get(facts.exam, said.written_from["other"])
        blocks.append(Paragraph(said.caveat.format(written_from=origin), strong=True))
    return blocks


def _details(facts: CardFacts, said: Words) -> list[Block]:
    how = said.details.full if facts.trained == "full" else said.details.head
    made = said.details.made.format(
        day=f"{facts.created_at:%Y-%m-%d}", code=facts.code_revision[:12], snapshot=facts.snapshot_id
    )
    return [
        Paragraph(said.details.kind.format(encoder=facts.encoder, how=how)),
        Paragraph(said.details.reading),
        Paragraph(made),
    ]


def _data(facts: CardFacts, said: Words) -> list[Block]:
    held = {(count.origin, count.label, count.split): count for count in facts.counts}
    kinds = sorted({(count.origin, count.label) for count in facts.counts})
    rows = [
        (
            label,
            said.origins.get(origin, origin),
            *(_counted(held.get((origin, label, split))) for split in SPLITS),
        )
        for origin, label in kinds
    ]
    columns = said.columns
    dated = [
        (
            one.source,
            said.origins.get(one.origin, one.origin),
            str(one.reports),
            _day(one.first),
            _day(one.last),
        )
        for one in facts.sources
    ]
    return [
        Table((columns.label, columns.said_by, columns.train, columns.calibration, columns.holdout), rows),
        Table((columns.source, columns.said_by, columns.reports, columns.first, columns.last), dated),
        Paragraph(said.data_note.format(snapshot=facts.snapshot_id)),
        *_erased(facts, said),
    ]


def _erased(facts: CardFacts, said: Words) -> list[Block]:
    told = [said.erased.taught.format(reports=facts.erased)] if facts.erased else []
    told += [said.erased.perhaps] if facts.erased_perhaps else []
    return [Paragraph(" ".join((*told, said.erased.then)), strong=True)] if told else []


def _figures(facts: CardFacts, said: Words) -> list[Block]:
    judged = [subject for subject in ("model", *SUBJECTS) if subject in facts.figures]
    if not judged:
        return [Paragraph(said.unmeasured)]
    rows = [(said.subjects[subject], by_name(facts.figures[subject]), "all") for subject in judged]
    blocks: list[Block] = [
        *(_table(said.columns.answerer, rows, columns, said) for columns in (RIGHT, BESIDE)),
        Paragraph(said.figures_note.format(critical=facts.critical)),
    ]
    if facts.behaviour is not None:
        right = _shown(facts.behaviour, said)
        blocks.append(Paragraph(said.behaviour.format(pairs=facts.behaviour.n, right=right)))
    return blocks


def _table(
    first: str, rows: Sequence[tuple[str, Figures, str]], columns: Iterable[str], said: Words
) -> Table:
    """A row for each (what it is called, figures, slice)."""
    cells = [
        (called, *(_shown(found.get((name, of)), said) for name in columns)) for called, found, of in rows
    ]
    return Table((first, *(getattr(said.columns, name) for name in columns)), cells)


def _slices(facts: CardFacts, said: Words) -> list[Block]:
    figures = facts.figures.get("model", ())
    found = by_name(figures)
    names = in_order([figure.slice for figure in figures if figure.name == "small"])
    fields = {name.partition("=")[0] for name in names if name != "all"}
    absent = [said.groups[group] for group in GROUPS if group not in fields]
    blocks: list[Block] = [Paragraph(said.no_slices)]
    if fields:
        blocks = _by_slice(found, names, facts.critical, said)
    if absent:
        blocks.append(Paragraph(said.not_cut.format(fields=", ".join(absent)), strong=True))
    return blocks


def _by_slice(found: Figures, names: Sequence[str], critical: str, said: Words) -> list[Block]:
    called = {name: _called(name, said) + (" †" if found["small", name].value else "") for name in names}
    of = {name: found["patients", name] for name in names}
    sizes = [(called[name], f"{of[name].n} ({of[name].value or 0:.0f})") for name in names]
    rows = [(called[name], found, name) for name in names]
    small = said.small.format(patients=SMALL_PATIENTS, critical_patients=SMALL_CRITICAL, critical=critical)
    return [
        Table((said.columns.slice, said.columns.reports), sizes),
        *(_table(said.columns.slice, rows, columns, said) for columns in (RIGHT, BESIDE)),
        Paragraph(small),
    ]


def _called(name: str, said: Words) -> str:
    """A slice in the card's language, such as "tamanho: 51-150 palavras"."""
    if name == "all":
        return said.all_reports
    field, _, value = name.partition("=")
    value = said.values.get(value, value)
    if field == "length":
        value = value.replace("words and more", f"words {said.values['and_more']}")
        value = re.sub(r"\bwords\b", said.values["words"], value)
    if field == "origin":
        value = said.origins.get(value, value)
    if field == "language":
        value = said.languages.get(value, value)
    return f"{said.fields.get(field, said.groups.get(field, field))}: {value}"


def _doubt(facts: CardFacts, said: Words) -> list[str]:
    if facts.thresholds is None:
        return [said.doubt.unknown]
    found = facts.thresholds
    told = [
        (said.doubt.no_promise if math.isinf(limit) else said.doubt.promise).format(
            label=label, error=_share(error, said), reports=reports
        )
        for label, limit, reports, error in zip(
            facts.labels, found.limits, found.reports, found.errors, strict=True
        )
    ]
    return [*told, said.doubt.unfamiliar]


def _provenance(facts: CardFacts, said: Words) -> list[str]:
    of = said.provenance
    told = [
        of.model.format(model=facts.model_id, folder=facts.folder, manifest=facts.manifest_sha),
        of.snapshot.format(snapshot=facts.snapshot_id, sha=facts.snapshot_sha),
        of.config.format(config=facts.config_sha, run=facts.run_id, code=facts.code_revision),
    ]
    if facts.verdict is not None:
        one = facts.verdict
        told.append(
            of.verdict.format(
                decision=said.decisions[one.decision],
                day=f"{one.at:%Y-%m-%d}",
                actor=one.actor,
                plan=one.plan_sha,
                model=facts.model_id,
            )
        )
    return [*told, of.check]


def _counted(count: Count | None) -> str:
    return "0" if count is None else f"{count.reports} ({count.patients})"


def _shown(figure: Figure | None, said: Words) -> str:
    """Value and 95 % interval, with the language's decimal sign."""
    if figure is None or figure.value is None:
        return said.not_known
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}".replace(".", said.decimal)
    return f"{figure.value:.3f} ({figure.low:.2f}–{figure.high:.2f})".replace(".", said.decimal)


def _share(share: float, said: Words) -> str:
    return f"{100 * share:.1f} %".replace(".", said.decimal)


def _day(day: date | None) -> str:
    return "-" if day is None else day.isoformat()
