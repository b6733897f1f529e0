"""What the monitor looks at: what came in, was decided and was answered since a moment; counts only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, func, or_, select

from db.quarantine import BESIDE_A_REPORT
from db.reports import CURRENT, PRESENT
from db.snapshots import taught_patients
from db.tables import (
    audit,
    label,
    model,
    prediction,
    promotion,
    quarantine,
    report,
    report_version,
    run,
    run_batch,
    snapshot,
    source,
)


@dataclass(frozen=True)
class Intake:
    """What a hospital's source brought since a moment.

    Quarantined for the first time since: `refused` in a report's place, `beside` one that was taken in (an
    unknown label, or a text that the champion cannot read).
    """

    source: str
    read: int
    new: int
    updated: int
    unchanged: int
    quarantined: int
    refused: int
    last_report_at: datetime | None
    beside: int = 0


@dataclass(frozen=True)
class Refusal:
    """How many rows of a source lie in quarantine for one reason."""

    source: str
    reason: str
    waiting: int


@dataclass(frozen=True)
class Cleared:
    """What the retention rules took away. `features`: stored vectors; `texts`: of superseded versions."""

    models: int = 0
    leftovers: int = 0
    checkpoints: int = 0
    encoders: int = 0
    trials: int = 0
    mebibytes: float = 0.0
    features: int = 0
    texts: int = 0

    def __str__(self) -> str:
        """A sentence with what is not nothing."""
        parts = {
            "models": self.models,
            "folders or files of killed runs": self.leftovers,
            "checkpoints": self.checkpoints,
            "pre-trained encoders": self.encoders,
            "trials of back ends": self.trials,
            "stored vectors": self.features,
            "texts of superseded versions": self.texts,
        }
        told = ", ".join(f"{what}: {count:,}" for what, count in parts.items() if count)
        return f"{told} ({self.mebibytes:,.1f} MiB on the disk)" if told else "Nothing."


@dataclass(frozen=True)
class Decision:
    """A challenger's fate. `reasons`: each rule with name, passed, found and asked."""

    classifier: str
    model_id: int
    trained: str
    reports: int
    decision: str
    reasons: list[dict[str, Any]]
    at: datetime


@dataclass(frozen=True)
class Answers:
    """Predictions written at one moment (a chunk's end), by label and decision."""

    at: datetime
    classifier: str
    model_id: int
    label: str
    decision: str
    reports: int


@dataclass(frozen=True)
class Trouble:
    """Runs that ended badly in the same way, `run_id` being the last of them."""

    kind: str
    state: str
    failure: str | None
    times: int
    run_id: int


@dataclass(frozen=True)
class Answered:
    """A prediction whose truth is known by now."""

    patient_key: str
    truth: str
    probabilities: dict[str, float]


def intake(c: Connection, since: datetime, until: datetime) -> list[Intake]:
    """Every hospital source by name, with what it brought from `since` (included) to `until` (excluded)."""
    counted = ("read", "new", "updated", "unchanged", "quarantined")
    within = and_(run_batch.c.source_id == source.c.id, run_batch.c.at >= since, run_batch.c.at < until)
    stands_beside = quarantine.c.reason.in_(BESIDE_A_REPORT)
    refused, beside = (
        select(func.count())
        .where(
            quarantine.c.source_id == source.c.id,
            quarantine.c.first_seen_at >= since,
            quarantine.c.first_seen_at < until,
            kind,
        )
        .correlate(source)
        .scalar_subquery()
        for kind in (~stands_beside, stands_beside)
    )
    last_report = (
        select(func.max(report_version.c.created_at))
        .join(report, report.c.id == report_version.c.report_id)
        .where(report.c.source_id == source.c.id)
        .correlate(source)
        .scalar_subquery()
    )
    sums = [func.coalesce(func.sum(run_batch.c[name]), 0).label(name) for name in counted]
    query = (
        select(
            source.c.name.label("source"),
            *sums,
            refused.label("refused"),
            last_report.label("last_report_at"),
            beside.label("beside"),
        )
        .join(run_batch, within, isouter=True)
        .where(source.c.kind == "database")
        .group_by(source.c.id, source.c.name)
        .order_by(source.c.name)
    )
    return [Intake(**row._mapping) for row in c.execute(query)]


def waiting_in_quarantine(c: Connection) -> list[Refusal]:
    """What lies in quarantine, the most frequent first."""
    rows = func.count()
    query = (
        select(source.c.name, quarantine.c.reason, rows)
        .join(source, source.c.id == quarantine.c.source_id)
        .where(quarantine.c.state == "waiting")
        .group_by(source.c.name, quarantine.c.reason)
        .order_by(rows.desc(), source.c.name, quarantine.c.reason)
    )
    return [Refusal(*row) for row in c.execute(query)]


def decisions(c: Connection, since: datetime) -> list[Decision]:
    """Every promotion, refusal, rollback and end since, in order."""
    query = (
        select(
            promotion.c.classifier,
            promotion.c.model_id,
            model.c.trained,
            snapshot.c.reports,
            promotion.c.decision,
            promotion.c.reasons,
            promotion.c.at,
        )
        .join(model, model.c.id == promotion.c.model_id)
        .join(snapshot, snapshot.c.id == model.c.snapshot_id)
        .where(promotion.c.at >= since)
        .order_by(promotion.c.id)
    )
    return [Decision(*row) for row in c.execute(query)]


def cleared(c: Connection, since: datetime) -> Cleared:
    """What the retention rules took away since, by the audit."""
    runs = list(c.scalars(select(audit.c.detail).where(audit.c.action == "retention", audit.c.at >= since)))
    return Cleared(**{one.name: sum(run.get(one.name, 0) for run in runs) for one in fields(Cleared)})


def answers(c: Connection, since: datetime) -> list[Answers]:
    """Predictions written since, in the order of their moments."""
    key = (
        prediction.c.at,
        model.c.classifier,
        prediction.c.model_id,
        prediction.c.label,
        prediction.c.decision,
    )
    query = (
        select(*key, func.count())
        .join(model, model.c.id == prediction.c.model_id)
        .where(prediction.c.at >= since)
        .group_by(*key)
        .order_by(*key)
    )
    return [Answers(*row) for row in c.execute(query)]


def troubles(c: Connection, since: datetime) -> list[Trouble]:
    """Runs that failed, or were found crashed, since; in order.

    A failed nightly run is told by its parts, where one of them says so: those that could not even begin have
    no row. By their ends: a night that was killed is found gone by the next one, a day after it began. What a
    whole night has done since without a fault is no trouble any more; one run of the same kind alone may have
    been of another source or classifier.
    """
    night, part = run.alias(), run.alias()
    same_kind = (
        select(part.c.id)
        .where(part.c.parent_id == night.c.id, part.c.kind == run.c.kind)
        .correlate(night, run)
    )
    done_since = (
        select(night.c.id)
        .where(
            night.c.kind == "nightly",
            night.c.started_at >= run.c.ended_at,
            or_(
                and_(same_kind.exists(), ~same_kind.where(part.c.state != "completed").exists()),
                and_(run.c.kind == "nightly", night.c.state == "completed"),
            ),
        )
        .correlate(run)
    )
    told_by_a_part = (
        select(part.c.id)
        .where(part.c.parent_id == run.c.id, part.c.state.in_(["failed", "crashed"]))
        .correlate(run)
        .exists()
    )
    kinds = (run.c.kind, run.c.state, run.c.failure)
    query = (
        select(*kinds, func.count(), func.max(run.c.id))
        .where(
            run.c.ended_at >= since,
            or_(run.c.state == "crashed", and_(run.c.state == "failed", ~told_by_a_part)),
            ~done_since.exists(),
        )
        .group_by(*kinds)
        .order_by(func.max(run.c.id))
    )
    return [Trouble(*row) for row in c.execute(query)]


def answered(c: Connection, classifier: str, model_id: int, labels: Sequence[str]) -> list[Answered]:
    """The model's predictions of present, current reports with a label from the hospital or from feedback.

    Patients who taught or calibrated a model of the classifier are left out. Feedback counts before the
    source.
    """
    query = (
        select(report_version.c.id, report.c.patient_key, label.c.value, prediction.c.probabilities)
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .join(label, label.c.report_version_id == report_version.c.id)
        .where(
            prediction.c.model_id == model_id,
            label.c.classifier == classifier,
            label.c.origin.in_(["source", "feedback"]),
            label.c.value.in_(list(labels)),
            CURRENT,
            PRESENT,
            report.c.patient_key.not_in(taught_patients(classifier)),
        )
        .order_by(report_version.c.id, case((label.c.origin == "feedback", 0), else_=1), label.c.at.desc())
    )
    told: dict[int, Answered] = {}
    for version_id, patient_key, truth, probabilities in c.execute(query):
        told.setdefault(version_id, Answered(patient_key, truth, probabilities))
    return list(told.values())
