"""`laudos explain`: the sentences that carried an answer, for the person who asks, and on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from db import audit, erasure, evidence, models, reports, trace
from db.engine import reading, writing
from db.errors import ConfigurationError, LaudosError, NothingToWorkOn
from db.evidence import Place
from db.models import Model
from db.trace import Traced
from tasks.classifiers import the_classifier
from tasks.database import open_database
from tasks.ml.network.evidence import METHOD, Degree, Network, degrees
from tasks.ml.network.evidence import evidence as evidence_of
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import REMOVED, folder_of
from tasks.person import person
from tasks.scoring.cascade import who_answered
from tasks.settings.settings import Settings


@dataclass(frozen=True)
class Marked:
    """A passage of the cleaned text: characters `start` up to `end`, the latter left out.

    `score`: its share of the label's log odds, in nats; `degree`: how it is marked.
    """

    start: int
    end: int
    score: float
    degree: Degree


@dataclass(frozen=True)
class Explained:
    """An answer and what carried it: ids, places and scores, no text."""

    classifier: str
    report_id: int
    report_version_id: int
    version: int
    model_id: int
    label: str
    probability: float
    decision: str
    because: str | None
    method: str
    passages: list[Marked]


def explain(
    settings: Settings, report: str, *, source: str | None = None, classifier: str | None = None
) -> tuple[Explained, str]:
    """What carried the champion's answer for a report's current version, and that version's text.

    `report`: its number, or with `source` its id there. What was computed once is read from the database.
    Who asked goes to the audit before anything is returned. Raises NothingToWorkOn without a
    prediction, LaudosError where the text is gone or the model reads it differently by now.
    """
    engine = open_database(settings)
    name = the_classifier(settings, classifier)
    with reading(engine) as c:
        traced = answer_for(c, name, report, source)
        text = text_of(c, traced)
        places = evidence.of(c, traced.model_id, traced.report_version_id, METHOD)
    is_new = not places
    places = places or _computed(engine, settings, traced, text)
    now = datetime.now(UTC)
    with writing(engine) as c:
        erasure.held_off(c)
        text_of(c, traced)  # it may have been erased while the model read it
        if is_new:
            evidence.put(c, traced.model_id, traced.report_version_id, METHOD, places, now)
        audit.record(
            c,
            actor=person(),
            action="explained",
            subject=f"report version {traced.report_version_id}",
            detail={"model": traced.model_id, "passages": len(places)},
            now=now,
        )
    return _explained(traced, places), text


def answer_for(c: Connection, classifier: str, report: str, source: str | None) -> Traced:
    """The champion's prediction for a report's current version. Raises NothingToWorkOn without one."""
    traced = trace.of_report(c, classifier, _number(c, report, source))
    if traced is None:
        raise NothingToWorkOn(
            f"the champion of {classifier!r} has no answer for the current version of this report; "
            'run "laudos classify" first, or look whether it is in quarantine'
        )
    return traced


def text_of(c: Connection, traced: Traced) -> str:
    """The cleaned text that was answered for. Raises LaudosError where it was removed."""
    found = reports.texts(c, [traced.report_version_id]).get(traced.report_version_id)
    if found is None:
        raise LaudosError(
            f"the text of report version {traced.report_version_id} was removed (on request, or under the "
            "retention rules); its prediction stays, but nothing can be computed from it again"
        )
    return found


def who_said(c: Connection, traced: Traced) -> Model:
    """The model that answered: the traced champion, or a student in its place (tasks/scoring/cascade.py)."""
    model = models.get(c, who_answered(traced.backend, traced.model_id)[1])
    if model is None:
        raise LaudosError(f"{traced.backend!r} names a model that this database does not know")
    return model


def _number(c: Connection, report: str, source: str | None) -> int:
    if source is not None:
        found = trace.report_number(c, source, report)
        if found is None:
            raise LaudosError(
                f"source {source!r} has no report of this id; the view current_prediction lists them"
            )
        return found
    number = row_number(report)
    if number is None:
        raise ConfigurationError("a report is named by its number, or by its id and --source NAME")
    return number


def row_number(said: str) -> int | None:
    """The number of a row as a person wrote it; None where no row can bear it."""
    return int(said) if said.isdecimal() and int(said) < 2**63 else None


def _computed(engine: Engine, settings: Settings, traced: Traced, text: str) -> list[Place]:
    with reading(engine) as c:
        model = who_said(c, traced)
    if model.state == "removed":
        raise LaudosError(f"model {model.id} can explain nothing any more: {REMOVED}")
    predictor = Predictor.load(folder_of(settings, model), model.manifest_sha)
    (again,) = predictor.predict([text], batch_tokens=settings.scoring.batch_tokens)
    if again.label != traced.label:
        raise LaudosError(
            f"model {model.id} says something else of report version {traced.report_version_id} than it did; "
            'run "laudos verify" with its number'
        )
    facts = predictor.facts
    network = Network(
        predictor.model,
        predictor.tokenizer,
        facts.window_tokens,
        facts.stride_tokens,
        settings.scoring.batch_tokens,
        facts.long_reports,
        predictor.pooled,
    )
    found = evidence_of(network, text, predictor.labels.index(traced.label))
    return [Place(one.start, one.end, one.score) for one in found]


def _explained(traced: Traced, places: Sequence[Place]) -> Explained:
    marks = degrees([one.score for one in places])
    return Explained(
        classifier=traced.classifier,
        report_id=traced.report_id,
        report_version_id=traced.report_version_id,
        version=traced.version,
        model_id=traced.model_id,
        label=traced.label,
        probability=traced.probabilities[traced.label],
        decision=traced.decision,
        because=traced.review_because,
        method=METHOD,
        passages=[
            Marked(one.begins, one.ends, one.score, degree) for one, degree in zip(places, marks, strict=True)
        ],
    )
