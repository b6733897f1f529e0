"""`laudos verify`: where a prediction came from, and whether the same text and model give it again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from db import trace
from db.engine import reading
from db.errors import ConfigurationError, LaudosError
from db.trace import Traced
from tasks.classifiers import the_classifier
from tasks.database import open_database
from tasks.inspection.explain import answer_for, row_number, text_of, who_said
from tasks.ledger import code_revision
from tasks.ml.errors import BackendUnavailable, BrokenArtifact
from tasks.ml.network.backends import BACKENDS, REFERENCE, Backend, difference_max, is_full_precision
from tasks.ml.network.predictor import Prediction, Predictor
from tasks.model_folders import REMOVED, folder_of
from tasks.scoring.cascade import who_answered
from tasks.settings.settings import Settings

PROBABILITY_TOLERANCE = 1e-4  # batches of other sizes, and other processors, add up in another order


@dataclass(frozen=True)
class Difference:
    """What is not as it was recorded."""

    what: str
    recorded: str
    now: str


@dataclass(frozen=True)
class Verified:
    """`same`: computed again from the text, the prediction is what was recorded; else `differences` say why.

    `largest_difference`: of any probability; None where nothing could be computed. That code or
    configuration are others by now is told, and is no difference by itself. `student`: number and manifest
    of who answered in the place of the traced champion, and was asked again (tasks/scoring/cascade.py).
    """

    prediction: str
    same: bool
    differences: list[Difference]
    largest_difference: float | None
    trace: Traced
    code_revision_now: str
    config_sha_now: str
    student: str | None = None


def verify_prediction(settings: Settings, prediction: str) -> Verified:
    """`prediction`: MODEL:VERSION, the numbers of the model and of the report version.

    Raises LaudosError where there is no such prediction or its text was removed.
    """
    before, _, after = prediction.partition(":")
    model_id, version_id = row_number(before), row_number(after)
    if model_id is None or version_id is None:
        raise ConfigurationError(
            "a prediction is named MODEL:VERSION, such as 3:1207; model_id and report_version_id of the view "
            "prediction_history are these numbers"
        )
    engine = open_database(settings)
    with reading(engine) as c:
        traced = trace.of(c, model_id, version_id)
    if traced is None:
        raise LaudosError(f"model {model_id} has no prediction for a report version {version_id}")
    return _verified(engine, settings, traced)


def verify_report(
    settings: Settings, report: str, *, source: str | None = None, classifier: str | None = None
) -> Verified:
    """The champion's prediction for a report's current version; the report is named as for `explain`."""
    engine = open_database(settings)
    name = the_classifier(settings, classifier)
    with reading(engine) as c:
        traced = answer_for(c, name, report, source)
    return _verified(engine, settings, traced)


def _verified(engine: Engine, settings: Settings, traced: Traced) -> Verified:
    with reading(engine) as c:
        text = text_of(c, traced)
        model = who_said(c, traced)
    largest = None
    if model.state == "removed":
        differences = [Difference("model folder", "published", REMOVED)]
    else:
        try:
            predictor = Predictor.load(folder_of(settings, model), model.manifest_sha)
        except BrokenArtifact as broken:
            differences = [Difference("model folder", f"manifest {model.manifest_sha[:12]}", str(broken))]
        else:
            try:
                (again,) = predictor.on(_backend(traced)).predict(
                    [text], batch_tokens=settings.scoring.batch_tokens
                )
            except BackendUnavailable as lacking:
                differences = [Difference("back end", traced.backend, str(lacking))]
            else:
                differences, largest = _compared(traced, again)
    return Verified(
        prediction=f"{traced.model_id}:{traced.report_version_id}",
        same=not differences,
        differences=differences,
        largest_difference=largest,
        trace=traced,
        code_revision_now=code_revision(),
        config_sha_now=settings.sha(),
        student=None if model.id == traced.model_id else f"{model.id}, manifest {model.manifest_sha}",
    )


def _backend(traced: Traced) -> Backend:
    """What computed it; the reference where that is none of today's."""
    backend = who_answered(traced.backend, traced.model_id)[0]
    return next((one for one in BACKENDS if one == backend), REFERENCE)


def _tolerance(traced: Traced) -> float:
    """In reduced precision the batch that a report was read in shows."""
    backend = _backend(traced)
    return PROBABILITY_TOLERANCE if is_full_precision(backend) else difference_max(backend)


def _compared(traced: Traced, again: Prediction) -> tuple[list[Difference], float | None]:
    """What differs, and the largest difference of any probability: None where the labels are others."""
    # what is decided of a job's reports taken together is on record, and no single report tells it again
    decision, because = again.decision, str(again.because)
    if traced.shift == "shifted" and decision == "auto":
        decision, because = "review", "shifted"
    found = [
        Difference(what, str(recorded), str(now))
        for what, recorded, now in (
            ("label", traced.label, again.label),
            ("decision", traced.decision, decision),
            ("tokens seen", traced.tokens_seen, again.tokens_seen),
        )
        if recorded != now
    ]
    # a review that was written before reasons were kept has none
    if traced.review_because is not None and traced.review_because != because:
        found.append(Difference("review because", traced.review_because, because))
    recorded, now = traced.probabilities, again.probabilities
    if recorded.keys() != now.keys():
        return [*found, Difference("labels", ", ".join(recorded), ", ".join(now))], None
    apart = {label: abs(recorded[label] - now[label]) for label in recorded}
    found += [
        Difference(f"probability of {label}", f"{recorded[label]:.6f}", f"{now[label]:.6f}")
        for label, gap in apart.items()
        if gap > _tolerance(traced)
    ]
    return found, max(apart.values())
