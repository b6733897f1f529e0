"""Models, the champion of each classifier, and the chain of decisions that made it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from db.engine import insert_into
from db.errors import Busy, LaudosError
from db.tables import champion, model, promotion

Trained = Literal["full", "head"]
State = Literal["ready", "retired", "tainted", "removed"]
Decision = Literal["promoted", "refused", "rolled_back", "ended"]


@dataclass(frozen=True)
class Model:
    """A trained model's row. `path` is relative to the folder of all models.

    ready: may answer, or answer again. retired: a person rolled back from it; it is not promoted
    again by itself. tainted: its folder was missing or not what was published when a run last read it;
    one that finds it restored gives it back its state. removed: its folder was taken away under the
    retention rules; the row stays for what it predicted.
    """

    id: int
    classifier: str
    path: str
    manifest_sha: str
    encoder_sha: str
    snapshot_id: int
    trained: Trained
    config: dict[str, Any]
    config_sha: str
    state: State
    run_id: int
    created_at: datetime

    @property
    def label_set(self) -> frozenset[str]:
        """The labels it answers with, in whatever order they were written."""
        return frozenset(self.config.get("labels", ()))


@dataclass(frozen=True)
class Champion:
    """Which model answers now; `epoch` rises by one with every change."""

    model: Model
    epoch: int
    since: datetime


@dataclass(frozen=True)
class Promotion:
    """One decision about a challenger, a refusal included. `reasons` are plain JSON objects."""

    id: int
    classifier: str
    decision: Decision
    model_id: int
    previous_model_id: int | None
    epoch: int | None
    reasons: list[dict[str, Any]]
    plan_sha: str
    actor: str
    run_id: int | None
    at: datetime


def add(
    c: Connection,
    *,
    classifier: str,
    path: str,
    manifest_sha: str,
    encoder_sha: str,
    snapshot_id: int,
    trained: Trained,
    config: Mapping[str, Any],
    config_sha: str,
    run_id: int,
    now: datetime,
) -> int:
    """Insert a ready model; returns its id. Its folder must be published before."""
    added = insert(model).values(
        classifier=classifier,
        path=path,
        manifest_sha=manifest_sha,
        encoder_sha=encoder_sha,
        snapshot_id=snapshot_id,
        trained=trained,
        config=dict(config),
        config_sha=config_sha,
        run_id=run_id,
        created_at=now,
    )
    return int(c.execute(added.returning(model.c.id)).scalar_one())


def get(c: Connection, model_id: int) -> Model | None:
    row = c.execute(select(model).where(model.c.id == model_id)).one_or_none()
    return None if row is None else _model(row)


def existing(c: Connection, model_id: int) -> Model:
    """`get`. Raises LaudosError where there is none of that number."""
    found = get(c, model_id)
    if found is None:
        raise LaudosError(f'there is no model {model_id}; "laudos models list" shows which there are')
    return found


def has_manifest(c: Connection, manifest_sha: str) -> bool:
    """Whether a model was published with this manifest."""
    return c.scalar(select(model.c.id).where(model.c.manifest_sha == manifest_sha).limit(1)) is not None


def of_classifier(c: Connection, classifier: str | None = None) -> list[Model]:
    """All models, newest first."""
    query = select(model).order_by(model.c.id.desc())
    if classifier is not None:
        query = query.where(model.c.classifier == classifier)
    return [_model(row) for row in c.execute(query)]


def trained_on(c: Connection, snapshot_id: int, config_sha: str) -> list[Model]:
    """Models that can answer, trained on exactly this, newest first."""
    same = (model.c.snapshot_id == snapshot_id) & (model.c.config_sha == config_sha)
    query = (
        select(model).where(same, model.c.state.not_in(("tainted", "removed"))).order_by(model.c.id.desc())
    )
    return [_model(row) for row in c.execute(query)]


def reinstate(c: Connection, model_id: int) -> bool:
    """Let a model answer again; False where its folder was removed."""
    there = (model.c.id == model_id, model.c.state != "removed")
    return c.execute(update(model).where(*there).values(state="ready")).rowcount == 1


def untaint(c: Connection, model_id: int, state: State) -> bool:
    """Give a tainted model another state; False where it is not tainted any more."""
    tainted = (model.c.id == model_id, model.c.state == "tainted")
    return c.execute(update(model).where(*tainted).values(state=state)).rowcount == 1


def set_state(c: Connection, model_id: int, state: State) -> None:
    c.execute(update(model).where(model.c.id == model_id).values(state=state))


def champion_of(c: Connection, classifier: str) -> Champion | None:
    query = (
        select(model, champion.c.epoch, champion.c.since)
        .join(champion, champion.c.model_id == model.c.id)
        .where(champion.c.classifier == classifier)
    )
    row = c.execute(query).one_or_none()
    return None if row is None else Champion(_model(row), row.epoch, row.since)


def crown(c: Connection, classifier: str, model_id: int, *, expected_epoch: int | None, now: datetime) -> int:
    """Make the model the champion if the champion is still the one that was looked at.

    `expected_epoch` is the epoch read when the decision was made, None where there was no champion.
    Returns the new epoch. Raises Busy when another process changed the champion in between.
    """
    if expected_epoch is None:
        epoch = _next_epoch(c, classifier)
        change: Any = (
            insert_into(c, champion)
            .values(classifier=classifier, model_id=model_id, epoch=epoch, since=now)
            .on_conflict_do_nothing()
        )
    else:
        epoch = expected_epoch + 1
        change = (
            update(champion)
            .where(champion.c.classifier == classifier, champion.c.epoch == expected_epoch)
            .values(model_id=model_id, epoch=epoch, since=now)
        )
    # asked by RETURNING: on PostgreSQL an INSERT's rowcount is not told
    if c.scalar(change.returning(champion.c.epoch)) is None:
        raise Busy(
            f"the champion of {classifier!r} changed while model {model_id} was being judged against it; "
            'run "laudos retrain" again to compare with the new one'
        )
    return epoch


def uncrown(c: Connection, classifier: str, *, expected_epoch: int) -> int:
    """Let no model answer any more; the epoch of that change. Raises Busy as `crown` does."""
    mine = (champion.c.classifier == classifier, champion.c.epoch == expected_epoch)
    if c.execute(delete(champion).where(*mine)).rowcount != 1:
        raise Busy(f"the champion of {classifier!r} changed meanwhile; try again")
    return expected_epoch + 1


def _next_epoch(c: Connection, classifier: str) -> int:
    """1 for a first champion; a classifier that was ended goes on counting."""
    last = select(func.max(promotion.c.epoch)).where(promotion.c.classifier == classifier)
    return int(c.scalar(last) or 0) + 1


def add_promotion(
    c: Connection,
    *,
    classifier: str,
    decision: Decision,
    model_id: int,
    previous_model_id: int | None,
    epoch: int | None,
    reasons: Sequence[Mapping[str, Any]],
    plan_sha: str,
    actor: str,
    run_id: int | None,
    now: datetime,
) -> int:
    """Record a decision; returns its id."""
    added = insert(promotion).values(
        classifier=classifier,
        decision=decision,
        model_id=model_id,
        previous_model_id=previous_model_id,
        epoch=epoch,
        reasons=[dict(reason) for reason in reasons],
        plan_sha=plan_sha,
        actor=actor,
        run_id=run_id,
        at=now,
    )
    return int(c.execute(added.returning(promotion.c.id)).scalar_one())


def promotions(c: Connection, classifier: str | None = None) -> list[Promotion]:
    """Every decision, newest first."""
    query = select(promotion).order_by(promotion.c.id.desc())
    if classifier is not None:
        query = query.where(promotion.c.classifier == classifier)
    return [Promotion(**row._mapping) for row in c.execute(query)]


def _model(row: Row[Any]) -> Model:
    return Model(**{column.name: row._mapping[column.name] for column in model.columns})
