"""The words of a model card, a file a language: which there must be, and reading them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from tasks.ml.checked_yaml import CheckedFile, Strict

Language = Literal["pt", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Sentences = Annotated[tuple[str, ...], Field(min_length=1)]


class Headings(Strict):
    summary: str
    details: str
    use: str
    not_for: str
    data: str
    figures: str
    slices: str
    doubt: str
    limits: str
    ethics: str
    provenance: str


class States(Strict):
    answering: str
    promoted: str
    waiting: str
    refused: str
    unjudged: str


class Details(Strict):
    kind: str
    full: str
    head: str
    reading: str
    made: str


class Erased(Strict):
    taught: str
    perhaps: str
    then: str


class Columns(Strict):
    label: str
    said_by: str
    train: str
    calibration: str
    holdout: str
    source: str
    reports: str
    first: str
    last: str
    slice: str
    answerer: str
    sensitivity: str
    specificity: str
    auroc_report: str
    ece: str
    review_share: str


class Doubt(Strict):
    promise: str
    no_promise: str
    unfamiliar: str
    unknown: str


class Provenance(Strict):
    model: str
    snapshot: str
    config: str
    verdict: str
    check: str


class Words(Strict):
    """Everything a card says. `decimal` parts a number's whole from its tenths."""

    language: str
    decimal: Literal[".", ","]
    title: str
    headings: Headings
    states: States
    summary: str
    unmeasured: str
    caveat: str
    written_from: dict[str, str]
    details: Details
    use: Sentences
    not_for: Sentences
    columns: Columns
    origins: dict[str, str]
    data_note: str
    erased: Erased
    subjects: dict[str, str]
    figures_note: str
    not_known: str
    behaviour: str
    all_reports: str
    fields: dict[str, str]
    values: dict[str, str]
    languages: dict[str, str]
    small: str
    no_slices: str
    not_cut: str
    groups: dict[str, str]
    doubt: Doubt
    limits: Sentences
    ethics: Sentences
    provenance: Provenance
    decisions: dict[str, str]
    source_note: str


@cache
def words(language: Language) -> Words:
    """Raises BadFile where the language's file lacks something, or says something nobody asks for."""
    return CheckedFile(Path(__file__).parent / f"{language}.yaml", Words).content
