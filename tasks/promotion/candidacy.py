"""Challengers that met every rule and wait: for reports to score along, or for a person.

Each ends in one of four ways. Accepted or refused by a person (or, where the plan asks for none, once it has
scored enough along, or there is nobody left to score along with); expired when nobody decided in time;
overtaken when the champion, the plan or the labels are no longer those it was judged by, for then what it met
no longer says anything. All four are in the audit's chain.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Engine

from db import audit, candidates, models, shadow
from db.candidates import Candidate
from db.engine import reading, writing
from db.errors import LaudosError
from db.models import Champion, Model
from db.shadow import Beside
from tasks.ml.errors import MlError
from tasks.ml.judging.rules import Reason, Rules, Verdict, rules_sha
from tasks.ml.judging.shadow import cut_short_reason
from tasks.model_folders import intact, point_at_champion
from tasks.models.decisions import write_decision
from tasks.person import AUTOMATIC
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.training.behaviour import suite_of

log = logging.getLogger(__name__)

RULE = "approval by a person"
ASKED = "a person lets it answer"
# of a challenger that was held against no champion, and why; it passes, for there was none to be worse than
NOT_COMPARED = "comparison with the champion"


def rules_of(asked: ClassifierSettings) -> Rules:
    """The rules in force."""
    given = asked.promotion.model_dump()
    within_s = int(given.pop("approval_within").total_seconds())
    return Rules(**given, approval_within_s=within_s)


def plan_sha(asked: ClassifierSettings) -> str:
    """sha256 of the plan in force: rules, critical label, floor and behaviour suite."""
    suite = suite_of(asked)
    return rules_sha(rules_of(asked), asked.critical, asked.sensitivity_floor, suite.sha if suite else None)


def hold_back(
    c: Connection,
    model: Model,
    champion: Champion | None,
    verdict: Verdict,
    rules: Rules,
    run_id: int,
    now: datetime,
) -> bool:
    """Make the challenger a candidate where the plan has it wait; False where it may answer at once.

    Without a champion that can answer there is nobody to score along with.
    """
    compared = all(reason.rule != NOT_COMPARED for reason in verdict.reasons)
    answers = champion is not None and compared and _answers_as(c, champion, model)
    shadowed = rules.shadow_reports if answers else 0
    if not shadowed and rules.approval != "person":
        return False
    candidate_id = candidates.add(
        c,
        classifier=model.classifier,
        model_id=model.id,
        champion_id=champion.model.id if champion else None,
        champion_epoch=champion.epoch if champion else None,
        state="shadow" if shadowed else "waiting",
        reasons=[asdict(reason) for reason in verdict.reasons],
        plan_sha=verdict.rules_sha,
        shadow_reports=shadowed,
        run_id=run_id,
        now=now,
        until=now + rules.approval_within,
    )
    detail = {"run": run_id, "candidate": candidate_id, "rules_sha": verdict.rules_sha}
    audit.record(
        c, actor=AUTOMATIC, action="met the rules", subject=f"model {model.id}", detail=detail, now=now
    )
    return True


def _answers_as(c: Connection, champion: Champion, model: Model) -> bool:
    """Whether the champion answers at all, and with the challenger's labels."""
    now = models.get(c, champion.model.id)  # the judging may have found it tainted
    return now is not None and now.state == "ready" and now.label_set == model.label_set


def waits_for(one: Candidate) -> str:
    """What an open candidacy waits for, as the end of a sentence about the model."""
    if one.state == "shadow":
        return f"scores {one.shadow_reports:,} reports along with model {one.champion_id}, answering none"
    return (
        f"waits for a person until {one.until:%Y-%m-%d %H:%M} UTC: laudos models approve {one.model_id} "
        f'--because "..." (or laudos models refuse {one.model_id})'
    )


def lapse(engine: Engine, settings: Settings, now: datetime, classifier: str | None = None) -> None:
    """End the candidacies that time, another champion or another plan has overtaken.

    Of all classifiers: one whose plan cannot be read is left as it is, and logged. Of one: BadFile is raised.
    """
    with reading(engine) as c:
        open_ones = candidates.pending(c, classifier)
    for name in dict.fromkeys(one.classifier for one in open_ones):
        asked = settings.classifiers.get(name)
        try:
            plan = None if asked is None else plan_sha(asked)
        except MlError as unreadable:
            if classifier is not None:
                raise
            log.warning("%s: its behaviour suite cannot be read: %s", name, type(unreadable).__name__)
            continue
        labels = frozenset(asked.labels if asked is not None else ())
        with writing(engine) as c:
            # read again: it may have been decided about, or let wait for longer, since
            for one in candidates.pending(c, name, held=True):
                _lapse_one(c, one, plan, labels, now)
        if asked is not None:
            _end_of_shadow(engine, settings, name, rules_of(asked), now)


def _lapse_one(
    c: Connection, one: Candidate, plan: str | None, labels: frozenset[str], now: datetime
) -> None:
    champion, model = models.champion_of(c, one.classifier), models.existing(c, one.model_id)
    epoch = champion.epoch if champion else None
    because = None
    if epoch != one.champion_epoch:
        because = "another champion answers since it was judged"
    elif plan != one.plan_sha:
        because = "the plan changed since it was judged"
    elif labels != model.label_set:
        because = "the labels changed since it was judged"
    if because is not None:
        if candidates.close(c, one.id, "overtaken", by=AUTOMATIC, because=because, now=now):
            detail = {"candidate": one.id, "because": because}
            audit.record(
                c, actor=AUTOMATIC, action="overtaken", subject=f"model {one.model_id}", detail=detail,
                now=now,
            )  # fmt: skip
    elif now >= one.until:
        lacking = "nobody decided" if one.state == "waiting" else "too few reports came to be scored along"
        reason = Reason(RULE, False, f"{lacking} until {one.until:%Y-%m-%d %H:%M} UTC", ASKED)
        end(c, one, "expired", [*one.reasons, asdict(reason)], AUTOMATIC, None, now)


def _end_of_shadow(engine: Engine, settings: Settings, name: str, rules: Rules, now: datetime) -> None:
    """Where the champion was found damaged, who scores along with it has met all that can be asked of it.

    Nothing is answered any more that it could score along with, and no other is judged while it does: it
    answers, or waits for a person where the plan asks for one. Refused: one that is damaged itself, or whose
    answers so far surely are others than the plan allows.
    """
    with reading(engine) as c:
        champion, pending = models.champion_of(c, name), candidates.pending(c, name)
        one = next((one for one in pending if one.state == "shadow"), None)
        if one is None or champion is None or champion.model.state == "ready":
            return
        model, found = models.existing(c, one.model_id), shadow.beside(c, one)
    fault = intact(engine, settings, model, AUTOMATIC, now)
    if fault is not None:
        with reading(engine) as c:
            model = models.existing(c, one.model_id)
        if model.state == "ready":
            log.warning("model %d is not let answer for a damaged champion: %s", one.model_id, fault)
            return
    reason = cut_short_reason(found.reports, found.patients, found.same_label, champion.model.id, rules)
    if fault is not None:
        reason = Reason(reason.rule, False, f"model {one.model_id} is tainted itself: {fault}", reason.asked)
    reasons = [*one.reasons, asdict(reason)]
    with writing(engine) as c:
        if one not in candidates.pending(c, name, held=True):
            return  # somebody else ended it, or let it wait
        if reason.passed and rules.approval == "person":
            let_wait(c, one, reasons, rules, found, now)
        else:
            end(c, one, "accepted" if reason.passed else "refused", reasons, AUTOMATIC, None, now)
    point_at_champion(engine, settings, name)


def let_wait(
    c: Connection, one: Candidate, reasons: list[dict[str, Any]], rules: Rules, found: Beside, now: datetime
) -> None:
    """From the shadow to a person, once, whoever else is at it."""
    if candidates.let_wait(c, one.id, reasons, now + rules.approval_within):
        audit.record(
            c, actor=AUTOMATIC, action="scored along", subject=f"model {one.model_id}",
            detail={"candidate": one.id, **asdict(found)}, now=now,
        )  # fmt: skip


def end(
    c: Connection,
    one: Candidate,
    state: Literal["accepted", "refused", "expired"],
    reasons: list[dict[str, Any]],
    by: str,
    because: str | None,
    now: datetime,
) -> int | None:
    """Close a candidacy and write the decision; the champion's new epoch where it was accepted.

    Raises LaudosError where somebody else closed it before, Busy where the champion is another.
    """
    model = models.existing(c, one.model_id)
    if not candidates.close(c, one.id, state, by=by, because=because, now=now):
        raise LaudosError(f"somebody decided about model {one.model_id} before; look at laudos models show")
    held_against = None
    if one.champion_id is not None and one.champion_epoch is not None:
        held_against = one.champion_id, one.champion_epoch
    return write_decision(
        c,
        model,
        "promoted" if state == "accepted" else "refused",
        champion=held_against,
        reasons=reasons,
        plan_sha=one.plan_sha,
        actor=by,
        run_id=one.run_id if by == AUTOMATIC else None,
        now=now,
        detail={"candidate": one.id, "because": because},
    )
