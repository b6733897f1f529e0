"""What a person asks of the models: which there are, how each was judged, and going back to one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine

from db import audit, candidates, lessons, metrics, models, snapshots
from db.candidates import Candidate
from db.engine import reading, writing
from db.errors import LaudosError
from db.metrics import Metric
from db.models import Champion, Model, Promotion
from tasks.database import open_database
from tasks.ml.errors import BrokenArtifact
from tasks.model_folders import REMOVED, data_card_path, fault_of, folder_of, point_at_champion, report_path
from tasks.person import AUTOMATIC, person
from tasks.settings.settings import Settings

WAITS = {"shadow": "scores along", "waiting": "waits"}


@dataclass(frozen=True)
class ModelLine:
    """One model in a list. `decision` is the last one about it, None where it was never judged; "scores
    along" or "waits" for one that met every rule and does not answer yet."""

    id: int
    classifier: str
    champion: bool
    trained: models.Trained
    state: models.State
    decision: str | None
    snapshot_id: int
    created_at: datetime
    folder: str


@dataclass(frozen=True)
class ModelStory:
    """One model: what it learnt from, its figures beside the baselines, every decision about it.

    `report`: the page for a physician, `data_card`: what its training set is made of, each None where it was
    not written; `erased`: which of the reports that taught it, or its body, were erased on request since;
    `review`: which reports go to a person, and `learnt`: how each stage of the training of its
    network ended, a sentence each, empty where its folder cannot be read; `answers`: the network and what
    beside it, empty where it answers alone.
    """

    model: ModelLine
    fault: str | None
    report: str | None
    data_card: str | None
    erased: lessons.Taught | None
    review: list[str]
    learnt: list[str]
    answers: str
    config: dict[str, Any]
    training_set: dict[str, Any]
    figures: list[Metric]
    decisions: list[Promotion]


@dataclass(frozen=True)
class RolledBack:
    """Which model answers now, and which did before."""

    classifier: str
    model_id: int
    previous_model_id: int
    epoch: int


def list_models(settings: Settings, classifier: str | None = None) -> list[ModelLine]:
    """Every model, newest first."""
    if classifier is not None:
        settings.classifier(classifier)  # a mistyped name is told, not answered with an empty list
    with reading(open_database(settings)) as c:
        found = models.of_classifier(c, classifier)
        history = models.promotions(c, classifier)
        waiting = candidates.pending(c, classifier)
        champions = [models.champion_of(c, name) for name in {model.classifier for model in found}]
    answering = {champion.model.id for champion in champions if champion is not None}
    return [_line(settings, model, answering, history, waiting) for model in found]


def show_model(settings: Settings, model_id: int) -> ModelStory:
    """One model's whole story. Raises LaudosError where there is none of that number."""
    with reading(open_database(settings)) as c:
        model = models.existing(c, model_id)
        history = models.promotions(c, model.classifier)
        waiting = candidates.pending(c, model.classifier)
        champion = models.champion_of(c, model.classifier)
        figures = metrics.of_model(c, model_id)
        snapshot = snapshots.existing(c, model.snapshot_id)
        taught, _ = lessons.taught_by(c)
    answering = {champion.model.id} if champion is not None else set()
    page = report_path(settings, model_id, "html")
    card = data_card_path(settings, model.snapshot_id, "html")
    return ModelStory(
        _line(settings, model, answering, history, waiting),
        fault_of(settings, model),
        str(page) if page.exists() else None,
        str(card) if card.exists() else None,
        taught.get(model_id),
        *_told_by_folder(settings, model),
        model.config,
        snapshot.recipe,
        figures,
        [past for past in history if model_id in (past.model_id, past.previous_model_id)],
    )


def model_row(engine: Engine, model_id: int) -> Model:
    """The model's row. Raises LaudosError where there is none."""
    with reading(engine) as c:
        return models.existing(c, model_id)


def _told_by_folder(settings: Settings, model: Model) -> tuple[list[str], list[str], str]:
    """Which reports go to a person, how its training ended, and what answers."""
    # torch comes with these: not for a rollback
    from tasks.ml.network.artifact import read_facts
    from tasks.ml.network.familiarity import explained
    from tasks.ml.training.body_training import how_it_ended

    try:
        facts = read_facts(folder_of(settings, model))
    except BrokenArtifact:
        return [], [], ""
    review = explained(facts.labels, facts.thresholds, facts.familiarity)
    learnt = [f"{stage}: {how_it_ended(**ended)}" for stage, ended in facts.training.items()]
    return review, learnt, "" if facts.pool is None else facts.pool.in_words()


def rollback(settings: Settings, classifier: str, to: int | None = None) -> RolledBack:
    """Let an earlier model answer again: champion, promotion and audit rows in one transaction.

    `to`: which model; default: the champion that the present one replaced. The model rolled back from
    is retired: a retraining does not promote it again by itself. Raises LaudosError where there is
    nothing to go back to or the folder is not what was published.
    """
    settings.classifier(classifier)
    return roll_back(open_database(settings), settings, classifier, to, person(), datetime.now(UTC))


def roll_back(
    engine: Engine, settings: Settings, classifier: str, to: int | None, actor: str, now: datetime
) -> RolledBack:
    """`rollback`, with who does it and when."""
    with reading(engine) as c:
        champion = models.champion_of(c, classifier)
        if champion is None:
            raise LaudosError(f'{classifier!r} has no champion to roll back from; run "laudos retrain" first')
        target = models.existing(c, _before(c, champion) if to is None else to)
    _refuse_unfit(settings, champion, target)
    before = champion.model.id
    with writing(engine) as c:
        if not models.reinstate(c, target.id):
            raise LaudosError(f"model {target.id} cannot answer again: {REMOVED}")
        epoch = models.crown(c, classifier, target.id, expected_epoch=champion.epoch, now=now)
        if champion.model.state == "ready":  # a tainted one stays tainted
            models.set_state(c, before, "retired")
        reason = {"rule": "asked for by a person", "passed": True, "found": f"by {actor}", "asked": "nothing"}
        models.add_promotion(
            c,
            classifier=classifier,
            decision="rolled_back",
            model_id=target.id,
            previous_model_id=before,
            epoch=epoch,
            reasons=[reason],
            plan_sha="",
            actor=actor,
            run_id=None,
            now=now,
        )
        detail = {"from": before, "epoch": epoch}
        audit.record(
            c, actor=actor, action="rolled_back", subject=f"model {target.id}", detail=detail, now=now
        )
    point_at_champion(engine, settings, classifier)
    return RolledBack(classifier, target.id, before, epoch)


def _refuse_unfit(settings: Settings, champion: Champion, target: Model) -> None:
    name = f"model {target.id}"
    if target.classifier != champion.model.classifier:
        raise LaudosError(f"{name} belongs to {target.classifier!r}, not to {champion.model.classifier!r}")
    if target.id == champion.model.id:
        raise LaudosError(f"{name} is the champion already")
    fault = fault_of(settings, target)
    if fault is not None:
        raise LaudosError(
            f"{name} cannot answer again: {fault}; the champion stays model {champion.model.id}"
        )
    wanted = frozenset(settings.classifier(target.classifier).labels)
    if target.label_set != wanted:
        raise LaudosError(
            f"{name} answers with {', '.join(sorted(target.label_set))}, and laudos.toml asks for "
            f"{', '.join(sorted(wanted))}: it would answer nothing; write its labels there first, or choose "
            "another model"
        )


def before(history: Sequence[Promotion], model_id: int) -> int | None:
    """The champion that a model replaced when it was promoted; None for the first. Newest decision first."""
    for past in history:
        if past.model_id == model_id and past.decision == "promoted":
            return past.previous_model_id
    return None


def student_among(every: Sequence[Model], champion: Model) -> Model | None:
    """Who may answer before the champion (tasks/scoring/cascade.py): the newest distilled for its labels.

    `every`: models of its classifier, newest first.
    """
    return next(
        (
            one
            for one in every
            if "distilled" in one.config
            and one.id != champion.id
            and one.state not in ("tainted", "removed")
            and one.config.get("labels") == champion.config.get("labels")
        ),
        None,
    )


def reference(history: Sequence[Promotion], comparable: Collection[int]) -> int | None:
    """The model that small steps may not lead away from: the last one that a person approved or went back to,
    else the first champion. Only of the `comparable` ones; newest decision first."""
    by_person = [
        past.model_id
        for past in history
        if past.decision == "rolled_back" or (past.decision == "promoted" and past.actor != AUTOMATIC)
    ]
    by_itself = [past.model_id for past in reversed(history) if past.decision == "promoted"]
    return next((one for one in [*by_person[:1], *by_itself] if one in comparable), None)


def _before(c: Connection, champion: Champion) -> int:
    found = before(models.promotions(c, champion.model.classifier), champion.model.id)
    if found is not None:
        return found
    raise LaudosError(
        f"model {champion.model.id} is the first champion of {champion.model.classifier!r}; "
        "there is none before it (--to names any other model)"
    )


def _line(
    settings: Settings,
    model: Model,
    answering: set[int],
    history: list[Promotion],
    waiting: list[Candidate],
) -> ModelLine:
    decisions: list[str] = [WAITS[one.state] for one in waiting if one.model_id == model.id]
    decisions += [past.decision for past in history if past.model_id == model.id]
    return ModelLine(
        model.id,
        model.classifier,
        model.id in answering,
        model.trained,
        model.state,
        decisions[0] if decisions else None,
        model.snapshot_id,
        model.created_at,
        str(folder_of(settings, model)),
    )
