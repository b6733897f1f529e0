"""A person lets a model that waits answer, or turns it away: by command, or in a form of Prefect's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Engine

from db import candidates, models
from db.candidates import Candidate
from db.engine import reading, writing
from db.errors import LaudosError
from tasks.database import open_database
from tasks.ml.judging.rules import Reason
from tasks.model_folders import fault_of, point_at_champion
from tasks.person import named, said_why
from tasks.promotion.candidacy import ASKED, RULE, end, lapse
from tasks.settings.settings import Settings


@dataclass(frozen=True)
class Approval:
    """What a person decided: `champion_id` answers from now on."""

    classifier: str
    model_id: int
    decision: Literal["accepted", "refused"]
    champion_id: int | None
    by: str


def approve_model(settings: Settings, model_id: int, by: str | None, because: str) -> Approval:
    """Let a model that waits answer. `by`: default the login. Raises LaudosError where it does not wait."""
    return _by_command(settings, model_id, "accepted", by, because)


def refuse_model(settings: Settings, model_id: int, by: str | None, because: str) -> Approval:
    """Turn a model that waits or scores along away; the champion stays."""
    return _by_command(settings, model_id, "refused", by, because)


def _by_command(
    settings: Settings, model_id: int, decision: Literal["accepted", "refused"], by: str | None, because: str
) -> Approval:
    engine = open_database(settings)
    decided = decide_on(engine, settings, model_id, decision, by, because, datetime.now(UTC))
    from tasks.pages.after_waiting import renew_pages  # torch comes with it: not for who is told no

    renew_pages(engine, settings)
    return decided


def decide_on(
    engine: Engine,
    settings: Settings,
    model_id: int,
    decision: Literal["accepted", "refused"],
    by: str | None,
    because: str,
    now: datetime,
) -> Approval:
    """A person's decision, with when: champion, promotion, candidacy and audit in one transaction."""
    by, because = named(by), said_why(because)
    lapse(engine, settings, now, pending_of(engine, model_id).classifier)
    one = pending_of(engine, model_id)
    if decision == "accepted":
        _refuse_unfit(engine, settings, one)
    found = "let it answer" if decision == "accepted" else "turned it away"
    # why stands in the audit and beside the candidate: reasons are shown to whoever reads the views
    reason = asdict(Reason(RULE, decision == "accepted", found, ASKED))
    with writing(engine) as c:
        end(c, one, decision, [*one.reasons, reason], by, because, now)
    point_at_champion(engine, settings, one.classifier)
    answering = one.model_id if decision == "accepted" else one.champion_id
    return Approval(one.classifier, one.model_id, decision, answering, by)


def pending_of(engine: Engine, model_id: int) -> Candidate:
    """The model's open candidacy. Raises LaudosError saying what became of it, where there is none."""
    with reading(engine) as c:
        models.existing(c, model_id)
        one = candidates.latest_of(c, model_id)
    if one is None:
        raise LaudosError(
            f"model {model_id} does not wait for anybody: it met no plan that asks for a person or a shadow"
        )
    if one.state not in candidates.PENDING:
        why = f" ({one.because})" if one.state == "overtaken" else ""
        raise LaudosError(f"model {model_id} does not wait any more: it was {one.state}{why}")
    return one


def _refuse_unfit(engine: Engine, settings: Settings, one: Candidate) -> None:
    if one.state == "shadow":
        raise LaudosError(
            f"model {one.model_id} still scores along with the champion; laudos status says how far it is, "
            f"and laudos models refuse {one.model_id} turns it away"
        )
    refuse_broken(engine, settings, one)


def refuse_broken(engine: Engine, settings: Settings, one: Candidate) -> None:
    """Raises LaudosError where the model is not what was published, or is tainted or removed."""
    with reading(engine) as c:
        model = models.get(c, one.model_id)
    fault = None if model is None else fault_of(settings, model)
    if model is None or fault is not None or model.state != "ready":
        raise LaudosError(f"model {one.model_id} cannot answer: {fault or 'it is no longer ready'}")
