"""What each view selects: one query for both databases, its columns in the order views.py names them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Float,
    FromClause,
    Select,
    String,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
)

from db.quarantine import other_content_waits, scoring_failed
from db.reports import CURRENT, PRESENT
from db.tables import (
    candidate,
    champion,
    label,
    metric,
    model,
    prediction,
    promotion,
    report,
    report_version,
    run,
    shadow_prediction,
    source,
)
from db.view_expressions import a_day_ago, number_at, rules_told, text_at

# the parts of a row that names a report, and of one that holds an answer
_REPORT = (
    source.c.name.label("source"),
    report.c.external_id,
    report_version.c.version,
    report_version.c.report_date,
)
_ANSWER = (
    prediction.c.label,
    number_at(prediction.c.probabilities, prediction.c.label).label("probability"),
    number_at(prediction.c.probabilities, text_at(model.c.config, literal("critical"))).label(
        "critical_probability"
    ),
    prediction.c.decision,
    prediction.c.at.label("predicted_at"),
    prediction.c.model_id,
    report_version.c.created_at.label("taken_in_at"),
    prediction.c.tokens_seen,
    prediction.c.tokens_total,
    report.c.id.label("report_id"),
    report_version.c.id.label("report_version_id"),
)
_WHY = prediction.c.review_because
_OTHER = other_content_waits().label("content_in_quarantine")


def current_prediction() -> Select[Any]:
    return _answers(champion.c.classifier, *_REPORT, *_ANSWER, _WHY, _OTHER)


def prediction_history() -> Select[Any]:
    because = case(
        (report.c.erased_at.is_not(None), "report_erased"),
        (report.c.deleted_at.is_not(None), "report_gone"),
        (~CURRENT, "report_amended"),
        (champion.c.model_id.is_(None), "champion_changed"),
    )
    return (
        select(
            model.c.classifier,
            *_REPORT,
            *_ANSWER,
            because.is_not(None).label("superseded"),
            because.label("superseded_because"),
            _WHY,
        )
        .select_from(_predictions())
        .outerjoin(champion, champion.c.model_id == prediction.c.model_id)
    )


def waits_for_a_person() -> ColumnElement[bool]:
    """Whether a person must look: nobody has answered yet what the champion left to one, or the answer may
    be about a text that is out of date, which no answer ends."""
    answered = exists().where(
        label.c.report_version_id == report_version.c.id,
        label.c.classifier == champion.c.classifier,
        label.c.origin == "feedback",
    )
    return or_(and_(prediction.c.decision == "review", ~answered), other_content_waits())


def review_queue() -> Select[Any]:
    return (
        _answers(champion.c.classifier, *_REPORT, *_ANSWER, _WHY, _OTHER)
        .where(waits_for_a_person())
        .order_by(report_version.c.created_at, report_version.c.id)
    )


def changed_tonight() -> Select[Any]:
    began = (
        select(run.c.started_at).where(run.c.kind == "nightly").order_by(run.c.id.desc()).limit(1)
    ).scalar_subquery()
    night = select(func.coalesce(began, a_day_ago()).label("since")).cte("night")
    changes = union_all(
        _report_change(night, "new", report.c.created_at, report.c.created_at >= night.c.since),
        _report_change(
            night,
            "updated",
            report_version.c.created_at,
            and_(report_version.c.created_at >= night.c.since, report.c.created_at < night.c.since),
        ),
        _report_change(night, "gone", report.c.deleted_at, report.c.deleted_at >= night.c.since),
        _report_change(night, "erased", report.c.erased_at, report.c.erased_at >= night.c.since),
        _answer_change(night),
    ).subquery("changes")
    return select(changes)


def metric_history() -> Select[Any]:
    columns = ("subject", "population", "slice", "name", "value", "low", "high", "n", "run_id")
    return select(
        metric.c.at, model.c.classifier, metric.c.model_id, *(metric.c[name] for name in columns)
    ).select_from(metric.outerjoin(model, model.c.id == metric.c.model_id))


def backlog_coverage() -> Select[Any]:
    readable = and_(report_version.c.report_id == report.c.id, CURRENT, report_version.c.text.is_not(None))
    mine = and_(
        prediction.c.report_version_id == report_version.c.id, prediction.c.model_id == champion.c.model_id
    )
    failed_here = and_(
        report_version.c.id.is_not(None),
        prediction.c.model_id.is_(None),
        scoring_failed(champion.c.classifier),
    )
    reports, predicted = func.count(report_version.c.id), func.count(prediction.c.model_id)
    failed = func.count(case((failed_here, 1)))
    present = and_(report.c.source_id == source.c.id, PRESENT)
    return (
        select(
            champion.c.classifier,
            source.c.name.label("source"),
            champion.c.model_id,
            reports.label("reports"),
            predicted.label("predicted"),
            (reports - predicted - failed).label("waiting"),
            failed.label("scoring_failed"),
            (cast(predicted, Float) / func.nullif(reports, 0)).label("share"),
        )
        .select_from(champion)
        .join(source, source.c.kind == "database")
        .outerjoin(report.join(report_version, readable), present)
        .outerjoin(prediction, mine)
        .group_by(champion.c.classifier, champion.c.model_id, source.c.name)
    )


def shadow_answer() -> Select[Any]:
    theirs, ours = prediction.c, shadow_prediction.c
    beside = and_(
        theirs.report_version_id == ours.report_version_id, theirs.model_id == candidate.c.champion_id
    )
    return (
        select(
            candidate.c.classifier,
            *_REPORT,
            candidate.c.model_id,
            candidate.c.champion_id,
            ours.label,
            number_at(ours.probabilities, ours.label).label("probability"),
            ours.decision,
            theirs.label.label("champion_label"),
            theirs.decision.label("champion_decision"),
            (ours.label == theirs.label).label("same_label"),
            ours.at.label("scored_at"),
            candidate.c.state,
            report.c.id.label("report_id"),
            report_version.c.id.label("report_version_id"),
        )
        .select_from(shadow_prediction)
        .join(candidate, candidate.c.id == ours.candidate_id)
        .join(prediction, beside)
        .join(report_version, report_version.c.id == ours.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
    )


def champion_history() -> Select[Any]:
    until = func.lead(promotion.c.at).over(partition_by=promotion.c.classifier, order_by=promotion.c.epoch)
    changes = select(
        promotion.c.classifier,
        promotion.c.epoch,
        promotion.c.model_id,
        promotion.c.at.label("answered_from"),
        until.label("answered_until"),
        promotion.c.decision,
        promotion.c.actor,
        rules_told(promotion.c.reasons).label("why"),
        promotion.c.previous_model_id,
        promotion.c.id.label("promotion_id"),
    ).where(promotion.c.epoch.is_not(None))  # a refused challenger never answered
    every = changes.subquery("changes")
    return select(every).where(every.c.decision != "ended")


def _predictions() -> FromClause:
    return (
        prediction.join(model, model.c.id == prediction.c.model_id)
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
    )


def _answers(*columns: ColumnElement[Any]) -> Select[Any]:
    """The champions' predictions of what is current and present."""
    return (
        select(*columns)
        .select_from(_predictions())
        .join(champion, champion.c.model_id == prediction.c.model_id)
        .where(CURRENT, PRESENT)
    )


def _report_change(
    night: CTE, change: str, at: ColumnElement[Any], happened: ColumnElement[bool]
) -> Select[Any]:
    """Hospital reports to which something happened, as rows of changed_tonight."""
    nothing = cast(null(), String)
    return (
        select(
            literal(change).label("change"),
            *_REPORT,
            at.label("at"),
            nothing.label("classifier"),
            nothing.label("label_before"),
            nothing.label("label_now"),
            nothing.label("because"),
            night.c.since,
            report.c.id.label("report_id"),
            report_version.c.id.label("report_version_id"),
        )
        .select_from(report)
        .join(report_version, and_(report_version.c.report_id == report.c.id, CURRENT))
        .join(source, source.c.id == report.c.source_id)
        .join(night, true())
        .where(source.c.kind == "database", happened)
    )


def _answer_change(night: CTE) -> Select[Any]:
    """What the champion says now beside what the champion of then said of the version of then."""
    past = report_version.alias("past")
    version_then = (
        select(past.c.id)
        .where(past.c.report_id == report.c.id, past.c.created_at < night.c.since)
        .order_by(past.c.version.desc())
        .limit(1)
        .scalar_subquery()
    )
    model_then = (
        select(promotion.c.model_id)
        .where(
            promotion.c.classifier == champion.c.classifier,
            promotion.c.epoch.is_not(None),
            promotion.c.at < night.c.since,
        )
        .order_by(promotion.c.epoch.desc())
        .limit(1)
        .scalar_subquery()
    )
    earlier = prediction.alias("earlier")
    same_version = earlier.c.report_version_id == prediction.c.report_version_id
    same_model = earlier.c.model_id == prediction.c.model_id
    answered_at = case((prediction.c.at >= night.c.since, prediction.c.at), else_=champion.c.since)
    return (
        _answers(
            literal("answer").label("change"),
            *_REPORT,
            answered_at.label("at"),
            champion.c.classifier,
            earlier.c.label.label("label_before"),
            prediction.c.label.label("label_now"),
            case((same_model, "report_amended"), (same_version, "champion_changed"), else_="both").label(
                "because"
            ),
            night.c.since,
            report.c.id.label("report_id"),
            report_version.c.id.label("report_version_id"),
        )
        .join(night, true())
        .join(
            earlier,
            and_(earlier.c.model_id == model_then, earlier.c.report_version_id == version_then),
        )
        .where(
            source.c.kind == "database",
            earlier.c.label != prediction.c.label,
            # only then can the answer be another: keeps a quiet night from going through every prediction
            or_(report_version.c.created_at >= night.c.since, champion.c.since >= night.c.since),
        )
    )
