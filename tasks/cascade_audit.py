"""Every night the champion reads some of what its student answered; what that finds can switch it off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from db import metrics, models, predictions, reports
from db.engine import reading, writing
from db.metrics import Metric
from db.predictions import Said
from tasks.backends import on_its_backend
from tasks.cascade import AUDIT, audited, who_answered
from tasks.database import open_database
from tasks.ml.cascade import Agreement
from tasks.ml.predictor import Prediction
from tasks.scorer import load_predictor
from tasks.settings import Settings
from tasks.step import step

REPORTS = 1000  # a night, drawn by chance from all that was answered in the last 24 hours


@dataclass(frozen=True)
class Audited:
    """What a night's audit found of a classifier's cascade; `agreement` None: no student answered."""

    classifier: str
    agreement: Agreement | None


@step("audit cascade", run_name="audit cascade of {classifier}", retries=2)
def audit_cascade(run_id: int, classifier: str) -> Audited:
    """Let the champion read a sample of what its student answered, and write what it finds as figures."""
    settings = Settings.load()
    engine, now = open_database(settings), datetime.now(UTC)
    with reading(engine) as c:
        champion = models.champion_of(c, classifier)
        drawn = [] if champion is None else _drawn(c, champion.model.id, now)
        theirs = [one for one in drawn if champion and _by_student(one, champion.model.id)]
        texts = reports.texts(c, [one.report_version_id for one in theirs])
    if champion is None or not texts:
        return Audited(classifier, None)
    predictor = load_predictor(engine, settings, classifier, champion.model)
    predictor = on_its_backend(engine, settings, champion.model, predictor, len(texts))
    told = predictor.predict(list(texts.values()), batch_tokens=settings.scoring.batch_tokens)
    found = compared(drawn, dict(zip(texts, told, strict=True)), predictor.facts.critical)
    with writing(engine) as c:
        metrics.put(c, run_id, champion.model.id, _figures(found), now)
    return Audited(classifier, found)


def compared(drawn: Sequence[Said], champion: Mapping[int, Prediction], critical: str) -> Agreement:
    """What was recorded beside what the champion says of those versions that its student answered.

    What the champion answered itself counts as it stands: a promise is about all reports.
    """
    other = lost = named_critical = 0
    for one in drawn:
        large = champion.get(one.report_version_id)
        named = one.label if large is None else large.label
        named_critical += named == critical
        if large is not None:
            other += (one.label, one.decision) != (large.label, large.decision)
            lost += named == critical != one.label
    return Agreement(len(drawn), named_critical, len(champion), other, lost)


def so_far(c: Connection, classifier: str) -> Agreement:
    """All audits of the champion's cascade together."""
    champion = models.champion_of(c, classifier)
    return audited({} if champion is None else metrics.summed(c, champion.model.id, AUDIT))


def _drawn(c: Connection, champion_id: int, now: datetime) -> list[Said]:
    return predictions.sample(c, champion_id, now - timedelta(days=1), REPORTS)


def _by_student(one: Said, champion_id: int) -> bool:
    return who_answered(one.backend, champion_id)[1] != champion_id


def _figures(found: Agreement) -> list[Metric]:
    counts = {
        "other_decisions": (found.other_decisions, found.reports),
        "critical_lost": (found.critical_lost, found.critical),
        "answered": (found.answered, found.reports),
    }
    return [
        Metric("model", AUDIT, "all", name, float(count), None, None, of)
        for name, (count, of) in counts.items()
    ]
