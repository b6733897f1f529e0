"""The views for people who write SQL: named, commented, the same on SQLite and PostgreSQL.

Their names and columns are a contract: columns are only ever added, at the end. No view shows report text
or a patient's key. Views hold no data, so every upgrade writes them anew from this page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Dialect, Select, inspect

from db import ddl
from db import view_queries as queries
from db.ddl import literal, name_in
from db.errors import ConfigurationError


@dataclass(frozen=True)
class View:
    """A view: what one row of it is, and what each column holds, in the order of the query's columns."""

    name: str
    comment: str
    columns: Mapping[str, str]
    query: Select[tuple[object, ...]]


_REPORT = {
    "source": "name of the source in laudos.toml",
    "external_id": "the report's id at its source; unique within the source only",
    "version": "which content of the report: 1, 2, 3...",
    "report_date": "the date the report bears, where the source tells one",
}
_ANSWER = {
    "label": "the most probable label",
    "probability": "calibrated probability of that label, 0 to 1",
    "critical_probability": "calibrated probability of the critical label; null where the model names none",
    "decision": "auto, or review: a person must look",
    "predicted_at": "when the model answered",
    "model_id": "which model answered; joins model.id",
    "taken_in_at": "when this version was taken in",
    "tokens_seen": "tokens the model read",
    "tokens_total": "tokens the report has; more than tokens_seen means that it was cut",
    "report_id": "joins report.id",
    "report_version_id": "joins report_version.id, label.report_version_id and the other views",
}
_WHY = {
    "review_because": "unsure (the labels are not told apart), unfamiliar (unlike the training reports) or "
    "shifted (the model was sure, and the night's reports are unlike those that calibrated it); null for "
    "auto, and for what was written before it was told"
}
_OTHER = {
    "content_in_quarantine": "whether another content of the report waits in quarantine (SQLite: 1 or 0): "
    "the answer may be about a text that is out of date"
}
_CLASSIFIER = {"classifier": "name of the question in laudos.toml"}

VIEWS = (
    View(
        "current_prediction",
        "one row a classifier and report: what the champion says of each present report's current version",
        {**_CLASSIFIER, **_REPORT, **_ANSWER, **_WHY, **_OTHER},
        queries.current_prediction(),
    ),
    View(
        "prediction_history",
        "one row a prediction ever written and still kept, those that no longer count included and marked",
        {
            **_CLASSIFIER,
            **_REPORT,
            **_ANSWER,
            "superseded": "whether it no longer counts (SQLite: 1 or 0)",
            "superseded_because": "report_erased, report_gone (at its source), report_amended (there is a "
            "newer version) or champion_changed (another model answers now); null where it counts",
            **_WHY,
        },
        queries.prediction_history(),
    ),
    View(
        "review_queue",
        "one row a current prediction that a person must look at and nobody has answered by a feedback label "
        "yet, or whose report has another content in quarantine; the report that has waited longest comes "
        "first",
        {**_CLASSIFIER, **_REPORT, **_ANSWER, **_WHY, **_OTHER},
        queries.review_queue(),
    ),
    View(
        "changed_tonight",
        "one row a change since the last nightly run began (without one: in the last 24 hours): hospital "
        "reports that came, changed or went, and answers that are no longer what they were",
        {
            "change": "new, updated, gone, erased (the report) or answer (what the champion says of it)",
            **_REPORT,
            "at": "when it changed",
            "classifier": "for change = answer: the question; else null",
            "label_before": "for change = answer: what the champion of then said of the version of then",
            "label_now": "for change = answer: what the champion says now",
            "because": "for change = answer: report_amended, champion_changed or both",
            "since": "from when on changes are listed",
            "report_id": "joins report.id",
            "report_version_id": "joins report_version.id and the other views",
        },
        queries.changed_tonight(),
    ),
    View(
        "metric_history",
        "one row a figure ever measured, of a model or of a baseline beside it",
        {
            "at": "when it was measured",
            "classifier": "name of the question in laudos.toml; null where no model stands behind the figure",
            "model_id": "which model; joins model.id",
            "subject": "model, or the baseline measured beside it, such as tfidf_word",
            "population": "whose reports: holdout, source, backlog...",
            "slice": "all, or a part such as label=maligno",
            "name": "which figure: auroc_report, sensitivity, ece...",
            "value": "null where it cannot be computed",
            "low": "lower end of the 95 % interval over patients",
            "high": "upper end of the 95 % interval over patients",
            "n": "reports (or patients, for *_patient) it stands on",
            "run_id": "the run that measured it; joins run.id",
        },
        queries.metric_history(),
    ),
    View(
        "backlog_coverage",
        "one row a classifier with a champion and hospital source: how much of what is there it has "
        "answered; a source that laudos.toml keeps from the classifier shows as waiting",
        {
            **_CLASSIFIER,
            "source": "name of the source in laudos.toml",
            "model_id": "the champion; joins model.id",
            "reports": "reports that are present and can be read",
            "predicted": "of these: answered by the champion in their current version",
            "waiting": "of these: not answered yet",
            "scoring_failed": "of these: given up because its model fails on them; they lie in quarantine",
            "share": "predicted / reports, 0 to 1; null without reports",
        },
        queries.backlog_coverage(),
    ),
    View(
        "champion_history",
        "one row a time that a model answered for a classifier: from when until when, and how that came",
        {
            **_CLASSIFIER,
            "epoch": "1, 2, 3...: rises by one with every change",
            "model_id": "which model answered; joins model.id",
            "answered_from": "since when",
            "answered_until": "until when: another answers since, or none; null for the one that answers now",
            "decision": "promoted (it earned it) or rolled_back (a person went back to it)",
            "actor": "who decided: retrain, or a person's login",
            "why": "the rules it met, each with what was found",
            "previous_model_id": "the champion before; null for the first",
            "promotion_id": "joins promotion.id",
        },
        queries.champion_history(),
    ),
    View(
        "shadow_answer",
        "one row a report that a challenger scored along with the champion: what it would have said beside "
        "what was said; it counts in no other view",
        {
            **_CLASSIFIER,
            **_REPORT,
            "model_id": "the challenger; joins model.id",
            "champion_id": "the champion it scored along with; joins model.id",
            "label": "what the challenger would have said",
            "probability": "its calibrated probability of that label, 0 to 1",
            "decision": "auto, or review: it would have left it to a person",
            "champion_label": "what the champion said",
            "champion_decision": "auto or review",
            "same_label": "whether the two labels are the same (SQLite: 1 or 0)",
            "scored_at": "when the challenger read it",
            "state": "what became of the challenger: shadow, waiting, accepted, refused, expired, overtaken",
            "report_id": "joins report.id",
            "report_version_id": "joins report_version.id and the other views",
        },
        queries.shadow_answer(),
    ),
)


def create(c: Connection) -> None:
    """Write every view, in the caller's transaction; one that stands is replaced."""
    if c.dialect.name == "sqlite":
        drop(c)
    for view in VIEWS:
        # PostgreSQL takes columns added at the end, and keeps what was granted and what stands on the view
        verb = "CREATE VIEW" if c.dialect.name == "sqlite" else "CREATE OR REPLACE VIEW"
        ddl.run(c, f"{verb} {view.name} AS {definition(view, c.dialect)}")
    if c.dialect.name == "postgresql":
        ddl.run(c, *_comments(c.dialect))


def drop(c: Connection) -> None:
    """Take every view of ours away. Raises ConfigurationError naming what stands on one of them."""
    there = set(inspect(c).get_view_names())
    ours = [view.name for view in VIEWS if view.name in there]
    if c.dialect.name == "postgresql" and (theirs := [*dependents(c, ours, ours), *_functions(c, ours)]):
        raise ConfigurationError(
            f"{', '.join(theirs)} stand on laudos' views, which an upgrade has to drop for a moment; "
            "drop these, upgrade, and create them again"
        )
    for name in ours:
        ddl.run(c, f"DROP VIEW {name}")


def set_aside(c: Connection) -> list[str]:
    """Take away the views of somebody else's in an SQLite file; what creates them again.

    SQLite changes no table while any view in the file stands on something that is not there.
    """
    ours = {view.name for view in VIEWS}
    found = c.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'view'").all()
    theirs = {name: creation for name, creation in found if name not in ours}
    for name in theirs:
        ddl.run(c, f"DROP VIEW {name_in(c.dialect, name)}")
    return list(theirs.values())


def definition(view: View, dialect: Dialect) -> str:
    """The SELECT behind a view, as this database spells it."""
    return str(view.query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _comments(dialect: Dialect) -> Iterator[str]:
    for view in VIEWS:
        yield f"COMMENT ON VIEW {view.name} IS {literal(view.comment)}"
        for column, comment in view.columns.items():
            yield f"COMMENT ON COLUMN {view.name}.{name_in(dialect, column)} IS {literal(comment)}"


def _functions(c: Connection, on: Sequence[str]) -> list[str]:
    """Functions of somebody else's that cannot be without these views, or the types of their rows."""
    found = c.exec_driver_sql(
        "SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0) FROM pg_class JOIN pg_depend d "
        "ON d.refclassid = 'pg_class'::regclass AND d.refobjid = pg_class.oid "
        "OR d.refclassid = 'pg_type'::regclass AND d.refobjid = pg_class.reltype "
        "WHERE d.classid = 'pg_proc'::regclass AND relname = ANY(%s) AND pg_table_is_visible(pg_class.oid) "
        "ORDER BY 1",
        (list(on),),
    )
    return list(found.scalars())


def dependents(c: Connection, on: Sequence[str], ours: Sequence[str]) -> dict[str, str]:
    """Views of somebody else's that select from these, or from views that do: schema.name -> kind of view."""
    found = c.exec_driver_sql(
        "WITH RECURSIVE stands (oid) AS ("
        "SELECT oid FROM pg_class WHERE relname = ANY(%s) AND pg_table_is_visible(oid) "
        "UNION SELECT r.ev_class FROM stands JOIN pg_depend d ON d.refobjid = stands.oid "
        "AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass "
        "JOIN pg_rewrite r ON r.oid = d.objid) "
        "SELECT format('%%I.%%I', n.nspname, theirs.relname), "
        "CASE theirs.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END "
        "FROM stands JOIN pg_class theirs ON theirs.oid = stands.oid AND theirs.relkind IN ('v', 'm') "
        "JOIN pg_namespace n ON n.oid = theirs.relnamespace WHERE theirs.relname <> ALL(%s) ORDER BY 1",
        (list(on), list(ours)),
    )
    return {row[0]: row[1] for row in found}
