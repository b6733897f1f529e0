"""A model's report for a physician: as files in <folder>/reports, and in the Prefect UI."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine

from db import candidates, metrics, models, snapshots
from db.candidates import Candidate
from db.engine import reading
from db.models import Model, Promotion
from tasks.artifacts import publish_model_report
from tasks.database import open_database
from tasks.ml.judging.rules import Reason
from tasks.ml.network.artifact import read_facts
from tasks.ml.pages.model_report import Count, ModelReport, ReportFacts, model_report
from tasks.model_folders import folder_of, report_path, write_atomically
from tasks.models.figures import figures_of
from tasks.models.models import model_row
from tasks.settings.settings import Settings
from tasks.step import step
from tasks.training import behaviour
from tasks.training.evaluate import answers_on, baselines_on
from tasks.training.learning_data import read_part
from tasks.training.loss_curves import STAGES, learnt


@step("report model", run_name="report model {model_id}", retries=2)
def write_model_report(run_id: int, model_id: int) -> bool:
    """Write the report where this run judged the model, or where none stands; returns whether it did."""
    settings = Settings.load()
    engine = open_database(settings)
    model = model_row(engine, model_id)
    judged_now = run_id in {one.run_id for one in _verdict_on(engine, model) if one is not None}
    if not judged_now and _stands(report_path(settings, model_id, "html"), model):
        return False
    write_report(engine, settings, model)
    return True


def _stands(page: Path, model: Model) -> bool:
    """Whether its page is there: one older than the model is of what bore its number before a restore."""
    return page.exists() and datetime.fromtimestamp(page.stat().st_mtime, UTC) >= model.created_at


def write_report(engine: Engine, settings: Settings, model: Model) -> None:
    """As files, and in Prefect's UI where a run of it is under way."""
    report = report_of(engine, settings, model, *_verdict_on(engine, model))
    write_atomically(report_path(settings, model.id, "md"), report.markdown.encode())
    write_atomically(report_path(settings, model.id, "html"), report.html.encode())
    publish_model_report(model.id, model.classifier, report.markdown)


def _verdict_on(engine: Engine, model: Model) -> tuple[Promotion | None, Candidate | None]:
    """The last decision about the model, and its candidacy while it waits or scores along."""
    with reading(engine) as c:
        history = models.promotions(c, model.classifier)
        pending = candidates.pending(c, model.classifier)
    # a rollback to this model, or the end of its classifier, was no verdict on it
    judged = ("promoted", "refused")
    verdicts = (past for past in history if past.model_id == model.id and past.decision in judged)
    return next(verdicts, None), next((one for one in pending if one.model_id == model.id), None)


def report_of(
    engine: Engine,
    settings: Settings,
    model: Model,
    decision: Promotion | None,
    waits: Candidate | None = None,
) -> ModelReport:
    """The report, from what the database and the model's folder say; nothing is measured anew."""
    with reading(engine) as c:
        snapshot = snapshots.existing(c, model.snapshot_id)
        counts = snapshots.counts(c, model.snapshot_id)
        figures = metrics.of_model(c, model.id)
        tried = metrics.of_model(c, model.id, behaviour.POPULATION)
        origins = sorted({origin for origin, _, split, *_ in counts if split == "holdout"})
        curves = {stage: metrics.of_model(c, model.id, stage) for stage in STAGES}
        by_origin = {origin: metrics.of_model(c, model.id, f"holdout_{origin}") for origin in origins}
    outcome: Literal["promoted", "refused", "waiting", "unchanged"] = "unchanged"
    met = [] if decision is None else decision.reasons
    if waits is not None:
        outcome, met = "waiting", waits.reasons
    elif decision is not None:
        outcome = "promoted" if decision.decision == "promoted" else "refused"
    holdout = read_part(engine, model.snapshot_id, "holdout", model.config["labels"])
    probabilities, unfamiliar = answers_on(engine, settings, model, holdout, model.created_at)
    facts = read_facts(folder_of(settings, model))
    return model_report(
        ReportFacts(
            classifier=model.classifier,
            model_id=model.id,
            labels=model.config["labels"],
            critical=model.config["critical"],
            trained=model.trained,
            encoder=encoder_in_words(model.config),
            snapshot_sha=snapshot.sha,
            created_at=model.created_at,
            counts=[Count(*count) for count in counts],
            figures={subject: figures_of(subject, figures) for subject in {row.subject for row in figures}},
            scored={"model": probabilities} | baselines_on(engine, settings, model, holdout),
            labels_idx=holdout.labels_idx,
            thresholds=facts.thresholds,
            familiarity=facts.familiarity,
            unfamiliar=unfamiliar,
            decision=outcome,
            reasons=[Reason(**reason) for reason in met],
            by_origin={origin: figures_of("model", rows) for origin, rows in by_origin.items() if rows},
            behaviour=figures_of("model", tried),
            learnt=[
                told
                for name, rows in curves.items()
                if (told := learnt(name, rows, facts.training.get(name)))
            ],
        )
    )


def encoder_in_words(config: dict[str, Any]) -> str:
    """Such as "scratch, 2 layers of 128" or "bert-base at 0123abcd", and what stands beside it; of a student
    whose it is."""
    if config["encoder"] == "scratch":
        told = f"scratch, {config['training']['layers']} layers of {config['training']['hidden_size']}"
    else:
        told = str(config["encoder"])
        if config["revision"]:
            told += f" at {config['revision'][:8]}"
    if config["training"].get("linear_reader"):
        told += ", a linear reader beside it"
    if student := config.get("distilled"):
        told += f" ({student['layers']} of its layers kept, taught by model {student['teacher']})"
    return told
