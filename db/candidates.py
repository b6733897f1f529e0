"""Challengers that met every rule of promotion and do not answer yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, select, update

from db.engine import insert_into
from db.errors import Busy
from db.tables import candidate, promotion

State = Literal["shadow", "waiting", "accepted", "refused", "expired", "overtaken"]
PENDING: Final = ("shadow", "waiting")


@dataclass(frozen=True)
class Candidate:
    """One challenger's way from the rules to an answer; `reasons` are plain JSON objects.

    shadow: it scores along with the champion and answers nothing. waiting: for a person. `until`: when it
    expires in the state it is in.
    """

    id: int
    classifier: str
    model_id: int
    champion_id: int | None
    champion_epoch: int | None
    state: State
    reasons: list[dict[str, Any]]
    plan_sha: str
    shadow_reports: int
    run_id: int
    since: datetime
    until: datetime
    decided_at: datetime | None
    decided_by: str | None
    because: str | None


def add(
    c: Connection,
    *,
    classifier: str,
    model_id: int,
    champion_id: int | None,
    champion_epoch: int | None,
    state: State,
    reasons: Sequence[Mapping[str, Any]],
    plan_sha: str,
    shadow_reports: int,
    run_id: int,
    now: datetime,
    until: datetime,
) -> int:
    """Record a challenger that met the rules; its number.

    Raises Busy where another of its classifier waits or scores along.
    """
    added = insert_into(c, candidate).values(
        classifier=classifier,
        model_id=model_id,
        champion_id=champion_id,
        champion_epoch=champion_epoch,
        state=state,
        reasons=[dict(reason) for reason in reasons],
        plan_sha=plan_sha,
        shadow_reports=shadow_reports,
        run_id=run_id,
        since=now,
        until=until,
    )
    number = c.scalar(added.on_conflict_do_nothing().returning(candidate.c.id))
    if number is None:
        raise Busy(
            f"another model of {classifier!r} met the rules while model {model_id} was being judged, and "
            'waits; run "laudos retrain" again once it was decided about'
        )
    return int(number)


def pending(c: Connection, classifier: str | None = None, *, held: bool = False) -> list[Candidate]:
    """Those that score along or wait, the oldest first; one a classifier at most.

    `held`: nobody else changes them until the transaction ends.
    """
    query = select(candidate).where(candidate.c.state.in_(PENDING)).order_by(candidate.c.id)
    query = query.with_for_update() if held else query
    if classifier is not None:
        query = query.where(candidate.c.classifier == classifier)
    return [_candidate(row) for row in c.execute(query)]


def undecided(c: Connection, classifier: str) -> list[int]:
    """The model of each comparison with a champion that led to a candidacy and, so far, to no decision.

    Each was a look at a holdout. The decisions that ended the others are promotions, and counted there.
    """
    query = select(candidate.c.model_id).where(
        candidate.c.classifier == classifier,
        candidate.c.champion_id.is_not(None),
        candidate.c.state.in_((*PENDING, "overtaken")),
    )
    return list(c.scalars(query))


def ended(c: Connection) -> list[int]:
    """Every model that waited or scored along once, and does not any more."""
    waits = select(candidate.c.model_id).where(candidate.c.state.in_(PENDING))
    query = select(candidate.c.model_id).where(candidate.c.model_id.not_in(waits)).distinct()
    return list(c.scalars(query.order_by(candidate.c.model_id)))


def last_plan(c: Connection, classifier: str) -> str | None:
    """The plan that the last decision was made under, a candidacy included; None before the first."""
    decided = select(promotion.c.at, promotion.c.plan_sha).where(
        promotion.c.classifier == classifier, promotion.c.plan_sha != ""
    )
    met = select(candidate.c.since, candidate.c.plan_sha).where(candidate.c.classifier == classifier)
    rows = [
        c.execute(query.order_by(at.desc()).limit(1)).one_or_none()
        for query, at in ((decided, promotion.c.id), (met, candidate.c.id))
    ]
    found = [(row[0], row[1]) for row in rows if row is not None]
    return max(found)[1] if found else None


def of_model(c: Connection, model_id: int) -> list[Candidate]:
    """Every candidacy of a model, the last first: it may be judged anew after another champion or plan."""
    query = select(candidate).where(candidate.c.model_id == model_id).order_by(candidate.c.id.desc())
    return [_candidate(row) for row in c.execute(query)]


def latest_of(c: Connection, model_id: int) -> Candidate | None:
    """The last candidacy of a model; None where it never was a candidate."""
    return next(iter(of_model(c, model_id)), None)


def let_wait(c: Connection, candidate_id: int, reasons: Sequence[Mapping[str, Any]], until: datetime) -> bool:
    """From shadow to waiting, with the rules it met since; False where it left the shadow already."""
    change = {"state": "waiting", "reasons": [dict(reason) for reason in reasons], "until": until}
    mine = (candidate.c.id == candidate_id, candidate.c.state == "shadow")
    return c.execute(update(candidate).where(*mine).values(change)).rowcount == 1


def close(
    c: Connection, candidate_id: int, state: State, *, by: str, because: str | None, now: datetime
) -> bool:
    """End a candidacy; False where somebody else ended it before."""
    change = {"state": state, "decided_at": now, "decided_by": by, "because": because}
    mine = (candidate.c.id == candidate_id, candidate.c.state.in_(PENDING))
    return c.execute(update(candidate).where(*mine).values(change)).rowcount == 1


def _candidate(row: Row[Any]) -> Candidate:
    return Candidate(**{column.name: row._mapping[column.name] for column in candidate.columns})
