"""Every night the champion reads some of what its student answered; what that finds can switch it off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from db import metrics, models, predictions, reports
from db.engine import reading, writing
from db.metrics import Metric
from db.predictions import Said, Scored
from tasks.database import open_database
from tasks.ml.network.cascade import Agreement
from tasks.models.models import student_among
from tasks.scoring.answering import answers
from tasks.scoring.backends import on_its_backend, read_on_it
from tasks.scoring.cascade import AUDIT, audit_slice, audited, who_answered
from tasks.scoring.scorer import load_predictor
from tasks.settings.settings import Settings
from tasks.step import step

# a night, drawn by chance from all that was answered in the last 24 hours, or since the last audit: what is
# counted twice would look like twice as much evidence
REPORTS = 1000


@dataclass(frozen=True)
class Audited:
    """What a night's audit found of a classifier's cascade: student -> agreement; empty: none answered."""

    classifier: str
    agreements: dict[int, Agreement]


@step("audit cascade", run_name="audit cascade of {classifier}", retries=2)
def audit_cascade(run_id: int, classifier: str) -> Audited:
    """Let the champion read a sample of what its student answered, and write what it finds as figures."""
    settings = Settings.load()
    engine, now = open_database(settings), datetime.now(UTC)
    with reading(engine) as c:
        champion = models.champion_of(c, classifier)
        if champion is None:
            return Audited(classifier, {})
        last = metrics.latest(c, champion.model.id, AUDIT)
        day = now - timedelta(days=1)
        since = day if last is None else max(day, last)
        drawn = predictions.sample(c, champion.model.id, since, REPORTS)
        theirs = _by_student(drawn, champion.model.id)
        texts = reports.texts(c, [version for versions in theirs.values() for version in versions])
    if not texts:
        return Audited(classifier, {})
    predictor = load_predictor(engine, settings, classifier, champion.model)
    predictor = on_its_backend(engine, settings, champion.model, predictor, len(texts))
    predictor, made = read_on_it(settings, predictor, texts)
    said = {one.report_version_id: one for one in answers(predictor, list(made.fresh.values()))}
    students = {version for versions in theirs.values() for version in versions}
    agreements = {}
    for student, versions in theirs.items():
        read = {version: said[version] for version in versions if version in said}
        # other students' answers are no part of it, nor what makes the champion fail
        apart = students - read.keys()
        kept = [one for one in drawn if one.report_version_id not in apart]
        agreements[student] = compared(kept, read, predictor.facts.critical)
    rows = [row for student, found in agreements.items() for row in _figures(student, found)]
    with writing(engine) as c:
        metrics.put(c, run_id, champion.model.id, rows, now)
    return Audited(classifier, agreements)


def compared(drawn: Sequence[Said], champion: Mapping[int, Scored], critical: str) -> Agreement:
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


def so_far(c: Connection, classifier: str) -> Agreement | None:
    """All audits of the champion with its student together; None where it has none."""
    champion = models.champion_of(c, classifier)
    student = champion and student_among(models.of_classifier(c, classifier), champion.model)
    return audited(c, champion.model.id, student.id) if champion and student else None


def _by_student(drawn: Sequence[Said], champion_id: int) -> dict[int, list[int]]:
    """Student -> the versions that it answered."""
    found: dict[int, list[int]] = {}
    for one in drawn:
        by = who_answered(one.backend, champion_id)[1]
        if by != champion_id:
            found.setdefault(by, []).append(one.report_version_id)
    return found


def _figures(student_id: int, found: Agreement) -> list[Metric]:
    counts = {
        "other_decisions": (found.other_decisions, found.reports),
        "critical_lost": (found.critical_lost, found.critical),
        "answered": (found.answered, found.reports),
    }
    return [
        Metric("model", AUDIT, audit_slice(student_id), name, float(count), None, None, of)
        for name, (count, of) in counts.items()
    ]
