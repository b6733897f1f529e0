"""Freeze, train, evaluate, promote if earned, report: one classifier after the other."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.classifiers import each_classifier
from tasks.database import open_database
from tasks.ledger import recorded_run
from tasks.pages.model_card import write_model_card
from tasks.pages.model_report import write_model_report
from tasks.promotion.form import offer_form
from tasks.promotion.promote import promote_if_earned
from tasks.settings.settings import Settings
from tasks.step import Name, flow
from tasks.training.data_card import write_data_card
from tasks.training.evaluate import evaluate_model
from tasks.training.plan import How
from tasks.training.train import train
from tasks.training.training_set import freeze_training_set


@dataclass(frozen=True)
class RetrainSummary:
    """What one classifier's retraining came to. `decision`: promoted, refused, waiting, unchanged or failed.

    `champion_id` answers from now on; `encoded` reports went through the encoder (0: all features
    were stored); `reused` says that this very model had been trained before.
    """

    classifier: str
    decision: str
    run_id: int | None = None
    snapshot_id: int | None = None
    model_id: int | None = None
    champion_id: int | None = None
    trained: str | None = None
    reused: bool = False
    encoded: int = 0
    holdout_reports: int = 0
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@flow("retrain", run_name="retrain {classifier} {how} {day}")
def retrain(classifier: Name | None = None, how: How = "auto") -> list[RetrainSummary]:
    """Train a challenger for one classifier or for all, and promote it if it earned it.

    With several, one that fails does not stop the others; its summary says why. Raises where the only
    one asked for failed, and where all did.
    """
    settings = Settings.load()
    return each_classifier(
        settings,
        classifier,
        lambda name: _retrain_one(settings, name, how),
        lambda name, failure: RetrainSummary(name, "failed", reasons=(str(failure),)),
    )


def _retrain_one(settings: Settings, classifier: str, how: How) -> RetrainSummary:
    settings.classifier(classifier)
    with recorded_run(open_database(settings), settings, "retrain", exclusive="model") as run:
        snapshot_id = freeze_training_set(run.id, classifier)
        write_data_card(snapshot_id)
        challenger = train(run.id, classifier, snapshot_id, how)
        judged = evaluate_model(run.id, challenger.model_id)
        decided = promote_if_earned(run.id, challenger.model_id)
        if decided.decision == "waiting":
            offer_form(settings, challenger.model_id)
        write_model_report(run.id, challenger.model_id)
        write_model_card(challenger.model_id)
    return RetrainSummary(
        classifier=classifier,
        decision=decided.decision,
        run_id=run.id,
        snapshot_id=snapshot_id,
        model_id=challenger.model_id,
        champion_id=decided.champion_id,
        trained=challenger.trained,
        reused=challenger.reused,
        encoded=challenger.encoded,
        holdout_reports=judged.holdout_reports,
        reasons=decided.reasons,
        notes=challenger.notes,
    )
