"""Where one prediction came from: report version, model, training set, runs and configurations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from db.reports import CURRENT
from db.tables import (
    champion,
    model,
    prediction,
    report,
    report_version,
    run,
    score_job,
    shift_test,
    snapshot,
    source,
)

_trained = run.alias("trained")
_scored = run.alias("scored")


@dataclass(frozen=True)
class Traced:
    """One prediction and all that it stands on; no text. The shas are those that the rows hold.

    `shift`: what was decided of its job's reports taken together (db/shift.py); None before there were tests.
    """

    classifier: str
    source: str
    external_id: str
    report_id: int
    report_version_id: int
    version: int
    current_version: int
    cleaning_revision: int
    label: str
    probabilities: dict[str, float]
    decision: str
    review_because: str | None
    tokens_seen: int
    backend: str
    predicted_at: datetime
    scoring_run: int
    scoring_code_revision: str
    scoring_config_sha: str
    shift: str | None
    model_id: int
    manifest_sha: str
    encoder_sha: str
    training_config_sha: str
    training_run: int
    training_code_revision: str
    snapshot_id: int
    snapshot_sha: str


def of(c: Connection, model_id: int, version_id: int) -> Traced | None:
    """The prediction of a model for a report version."""
    wanted = (prediction.c.model_id == model_id, prediction.c.report_version_id == version_id)
    return _one(c, _query().where(*wanted))


def of_report(c: Connection, classifier: str, report_id: int) -> Traced | None:
    """What the classifier's champion says of the report's current version."""
    query = (
        _query()
        .join(champion, champion.c.model_id == model.c.id)
        .where(champion.c.classifier == classifier, report.c.id == report_id, CURRENT)
    )
    return _one(c, query)


def report_number(c: Connection, source_name: str, external_id: str) -> int | None:
    """A report's number in laudos, by its id at its source."""
    query = (
        select(report.c.id)
        .join(source, source.c.id == report.c.source_id)
        .where(source.c.name == source_name, report.c.external_id == external_id)
    )
    return c.scalar(query)


def _one(c: Connection, query: Select[Any]) -> Traced | None:
    row = c.execute(query).one_or_none()
    return None if row is None else Traced(*row)


def _query() -> Select[Any]:
    """Columns in the order of Traced's fields."""
    return (
        select(
            model.c.classifier,
            source.c.name,
            report.c.external_id,
            report.c.id,
            report_version.c.id,
            report_version.c.version,
            report.c.current_version,
            report_version.c.cleaning_revision,
            prediction.c.label,
            prediction.c.probabilities,
            prediction.c.decision,
            prediction.c.review_because,
            prediction.c.tokens_seen,
            prediction.c.backend,
            prediction.c.at,
            _scored.c.id,
            _scored.c.code_revision,
            _scored.c.config_sha,
            shift_test.c.state,
            model.c.id,
            model.c.manifest_sha,
            model.c.encoder_sha,
            model.c.config_sha,
            _trained.c.id,
            _trained.c.code_revision,
            snapshot.c.id,
            snapshot.c.sha,
        )
        .select_from(prediction)
        .join(model, model.c.id == prediction.c.model_id)
        .join(snapshot, snapshot.c.id == model.c.snapshot_id)
        .join(_trained, _trained.c.id == model.c.run_id)
        .join(score_job, score_job.c.id == prediction.c.job_id)
        .join(_scored, _scored.c.id == score_job.c.run_id)
        .outerjoin(shift_test, shift_test.c.job_id == score_job.c.id)
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
    )
