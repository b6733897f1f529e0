"""A smaller model that answers as a larger one does: freeze, distil, evaluate, promote if earned, report."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.database import open_database
from tasks.ledger import recorded_run
from tasks.pages.model_card import write_model_card
from tasks.pages.model_report import write_model_report
from tasks.promotion.form import offer_form
from tasks.promotion.promote import promote_if_earned
from tasks.settings.settings import Settings
from tasks.step import Name, flow
from tasks.training.data_card import write_data_card
from tasks.training.distill import UNLABELLED, compare_with_teacher, distill_model, teacher_of
from tasks.training.evaluate import evaluate_model
from tasks.training.training_set import freeze_training_set


@dataclass(frozen=True)
class DistillSummary:
    """What a distillation came to. `decision`: promoted, refused or unchanged.

    Macro F1 of the student and its teacher on the same held-out patients, and `quality_kept` the one over
    the other with its 95 % interval; `flops_share` and `time_share` are what the student costs as a share
    of its teacher, by counting and by the clock; `champion_id` answers from now on.
    """

    classifier: str
    decision: str
    run_id: int
    snapshot_id: int
    teacher_id: int
    model_id: int
    champion_id: int | None
    layers: int
    teacher_layers: int
    labelled: int
    unlabelled: int
    reused: bool
    f1_macro: float
    teacher_f1_macro: float
    quality_kept: float
    quality_kept_low: float | None
    quality_kept_high: float | None
    flops_share: float
    time_share: float
    holdout_reports: int
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


@flow("distill", run_name="distill {classifier} {day}")
def distill(
    classifier: Name | None = None,
    model: int | None = None,
    layers: int | None = None,
    unlabelled: int = UNLABELLED,
) -> DistillSummary:
    """Train a smaller challenger that answers as the champion, or as any model, and judge it as any other.

    Its rules are those of retraining: cheaper is no reason to answer. Raises NothingToWorkOn where there is
    no model to learn from, or its configuration is no longer ours.
    """
    settings = Settings.load()
    engine = open_database(settings)
    teacher = teacher_of(engine, settings, classifier, model)
    with recorded_run(engine, settings, "distill", exclusive="model") as run:
        snapshot_id = freeze_training_set(run.id, teacher.classifier)
        write_data_card(snapshot_id)
        student = distill_model(run.id, teacher.id, snapshot_id, layers, unlabelled)
        judged = evaluate_model(run.id, student.model_id)
        compared = compare_with_teacher(run.id, student.model_id, teacher.id)
        decided = promote_if_earned(run.id, student.model_id)
        if decided.decision == "waiting":
            offer_form(settings, student.model_id)
        write_model_report(run.id, student.model_id)
        write_model_card(student.model_id)
    return DistillSummary(
        classifier=teacher.classifier,
        decision=decided.decision,
        run_id=run.id,
        snapshot_id=snapshot_id,
        teacher_id=teacher.id,
        model_id=student.model_id,
        champion_id=decided.champion_id,
        layers=student.layers,
        teacher_layers=student.teacher_layers,
        labelled=student.labelled,
        unlabelled=student.unlabelled,
        reused=student.reused,
        **vars(compared),
        holdout_reports=judged.holdout_reports,
        reasons=decided.reasons,
        notes=student.notes,
    )
