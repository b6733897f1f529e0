"""`laudos plan-check`: what the rules of promotion can see on one's own holdout, and how worn it is."""

from __future__ import annotations

from dataclasses import dataclass

from db import models, snapshots
from db.engine import reading
from db.errors import NothingToWorkOn
from tasks.classifiers import the_classifier
from tasks.database import open_database
from tasks.ml.judging.looks import error_left, error_of, least_gain
from tasks.promotion.candidacy import rules_of
from tasks.promotion.promote import look_at
from tasks.settings.settings import Settings

LATER = 50  # nights


@dataclass(frozen=True)
class Measure:
    """One rule: how many held-out patients it stands on, and the least true gain, in points of the measure,
    with which a challenger gets through in four cases of five: at the next look, and LATER looks on. Below
    0: how much worse it may truly be. None where the holdout has none of the label."""

    measure: str
    patients: int
    margin: float
    least_gain: float | None
    least_gain_later: float | None


@dataclass(frozen=True)
class PlanCheck:
    """The holdout of the champion's snapshot, how often it was looked at, and what the rules see on it."""

    classifier: str
    snapshot_id: int
    patients: int
    looks: int
    error: float
    error_of_next: float
    error_left: float
    disagree: float
    measures: list[Measure]


def check_plan(settings: Settings, *, classifier: str | None = None, disagree: float = 0.1) -> PlanCheck:
    """`disagree`: the share of patients that champion and challenger are expected to answer differently.

    Raises NothingToWorkOn where there is no champion, and so no holdout yet.
    """
    engine, name = open_database(settings), the_classifier(settings, classifier)
    asked = settings.classifier(name)
    with reading(engine) as c:
        champion, history = models.champion_of(c, name), models.promotions(c, name)
        if champion is None:
            raise NothingToWorkOn(f'{name!r} has no champion, and so no holdout; run "laudos retrain" first')
        snapshot_id = champion.model.snapshot_id
        of_label: dict[str, int] = dict.fromkeys(asked.labels, 0)
        for _, label, split, _, patients in snapshots.counts(c, snapshot_id):
            if split == "holdout" and label in of_label:
                of_label[label] += patients
        patients = snapshots.holdout_patients(c, [snapshot_id]).get(snapshot_id, 0)
    rules, look = rules_of(asked), look_at(engine, name, snapshot_id, history)

    def measure(what: str, behind: list[int], margin: float) -> Measure:
        gains = [
            least_gain(behind, margin, error_of(at, rules.error), disagree) if all(behind) else None
            for at in (look, look + LATER)
        ]
        return Measure(what, sum(behind), margin, *gains)

    return PlanCheck(
        name,
        snapshot_id,
        patients,
        look - 1,
        rules.error,
        error_of(look, rules.error),
        error_left(look - 1, rules.error),
        disagree,
        [
            measure("macro F1", [n for n in of_label.values() if n], rules.margin),
            *(measure(f"recall of {label}", [n], rules.class_margin) for label, n in of_label.items()),
        ],
    )
