"""Let a challenger answer if it earned it, and record why it did or did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Engine

from db import audit, models, snapshots
from db.engine import reading, writing
from db.models import Champion, Model, Promotion
from tasks.behaviour import run_of, suite_of
from tasks.database import open_database
from tasks.evaluate import Probabilities, answers_on, baselines_on, model_row, probabilities_on
from tasks.finer_figures import gaps_on
from tasks.learning_data import Part, read_part
from tasks.ml.artifact import read_facts
from tasks.ml.behaviour.gate import behaviour_reasons
from tasks.ml.behaviour.suite import Suite
from tasks.ml.fairness import fairness_reasons
from tasks.ml.faultpoints import reach
from tasks.ml.looks import next_look
from tasks.ml.promotion import judge
from tasks.ml.rules import Reason, Rules, Verdict, rules_sha
from tasks.model_folders import folder_of, intact, point_at_champion
from tasks.models import reference
from tasks.settings import ClassifierSettings, Settings
from tasks.step import step

ACTOR = "retrain"


@dataclass(frozen=True)
class Decided:
    """What became of a challenger; `champion_id` answers from now on. Reasons are whole sentences.

    unchanged: nothing was judged anew, and the only reason says why.
    """

    model_id: int
    decision: Literal["promoted", "refused", "unchanged"]
    champion_id: int | None
    reasons: tuple[str, ...]


@step("promote if earned", run_name="judge model {model_id}", retries=2)
def promote_if_earned(run_id: int, model_id: int) -> Decided:
    """Judge the model against the champion and the rules in force. A refusal is a normal outcome."""
    settings = Settings.load()
    return decide(open_database(settings), settings, run_id, model_id, datetime.now(UTC))


def decide(engine: Engine, settings: Settings, run_id: int, model_id: int, now: datetime) -> Decided:
    """Judge, then write champion, promotion and audit in one transaction.

    Raises Busy where another process changed the champion while this one was judging.
    """
    model = model_row(engine, model_id)
    asked = settings.classifier(model.classifier)
    suite = suite_of(asked)
    with reading(engine) as c:
        champion = models.champion_of(c, model.classifier)
        history = models.promotions(c, model.classifier)
    settled = _settled(model, champion, history, asked, suite)
    if settled is not None:
        # a run that was killed between the rows and the file left the file behind
        point_at_champion(engine, settings, model.classifier)
        return Decided(model_id, "unchanged", champion.model.id if champion else None, (settled,))
    verdict = _verdict(engine, settings, model, champion, history, suite, now)
    plan_before = next((past.plan_sha for past in history if past.plan_sha), None)
    decided = record(engine, model, champion, verdict, run_id, now, plan_before)
    point_at_champion(engine, settings, model.classifier)
    return decided


def _settled(
    model: Model,
    champion: Champion | None,
    history: Sequence[Promotion],
    asked: ClassifierSettings,
    suite: Suite | None,
) -> str | None:
    """Why there is nothing to judge; None where there is."""
    if champion is not None and champion.model.id == model.id:
        return f"model {model.id} is the champion already"
    if model.state == "retired":
        return f"model {model.id} was rolled back from; only a person lets it answer again"
    if model.state == "tainted":
        return f"model {model.id} is tainted: its folder is not what was published"
    against = None if champion is None else champion.model.id
    last = next((past for past in history if past.model_id == model.id), None)
    plan = rules_sha(rules_of(asked), asked.critical, asked.sensitivity_floor, suite.sha if suite else None)
    if last is not None and (last.decision, last.previous_model_id, last.plan_sha) == (
        "refused",
        against,
        plan,
    ):
        failed = [_sentence(reason) for reason in last.reasons if not reason["passed"]]
        return f"model {model.id} was refused under the same rules before: {'; '.join(failed)}"
    return None


def _verdict(
    engine: Engine,
    settings: Settings,
    model: Model,
    champion: Champion | None,
    history: Sequence[Promotion],
    suite: Suite | None,
    now: datetime,
) -> Verdict:
    """Challenger, champion and reference on the same holdout, that of the challenger's snapshot, and the same
    suite.

    Both are run on the suite as it is now: figures of an earlier one compare nothing.
    """
    asked, labels = settings.classifier(model.classifier), model.config["labels"]
    holdout = read_part(engine, model.snapshot_id, "holdout", labels)
    theirs, why_not = _champion_on(engine, settings, model, champion, holdout, now)
    behaved: list[Reason] = []
    if suite is not None:
        opponent = None if champion is None or theirs is None else run_of(settings, champion.model, suite)
        behaved = behaviour_reasons(run_of(settings, model, suite), opponent, rules_of(asked))
    rules = rules_of(asked)
    answers, unfamiliar = answers_on(engine, settings, model, holdout, now)
    facts = read_facts(folder_of(settings, model))
    gaps = gaps_on(engine, model, facts, holdout, answers, unfamiliar, rules.n_boot, settings.seed)
    verdict = judge(
        answers,
        theirs,
        baselines_on(engine, settings, model, holdout),
        holdout.labels_idx,
        holdout.patients,
        labels,
        asked.critical,
        rules,
        asked.sensitivity_floor,
        settings.seed,
        [*behaved, *fairness_reasons(gaps, rules)],
        suite.sha if suite else None,
        reference=_reference_on(engine, settings, model, champion, history, holdout, now),
        newer=champion is None or champion.model.snapshot_id < model.snapshot_id,
        look=look_at(engine, model.classifier, model.snapshot_id, history),
    )
    reasons = verdict.reasons if why_not is None else (*verdict.reasons, why_not)
    return Verdict(verdict.promoted, reasons, verdict.rules_sha)


def _champion_on(
    engine: Engine,
    settings: Settings,
    model: Model,
    champion: Champion | None,
    holdout: Part,
    now: datetime,
) -> tuple[Probabilities | None, Reason | None]:
    """The champion's probabilities, or a reason, for the record, why there is no comparison."""
    rule, asked = "comparison with the champion", "an intact champion with the same labels, if any"
    if champion is None:
        return None, Reason(rule, True, "there is no champion yet", asked)
    name = f"champion model {champion.model.id}"
    if champion.model.config["labels"] != model.config["labels"]:
        return None, Reason(rule, True, f"{name} answers with other labels", asked)
    fault = intact(engine, settings, champion.model, ACTOR, now)
    if fault is not None:
        return None, Reason(rule, True, f"{name} is tainted: {fault}", asked)
    return probabilities_on(engine, settings, champion.model, holdout, now), None


def _reference_on(
    engine: Engine,
    settings: Settings,
    model: Model,
    champion: Champion | None,
    history: Sequence[Promotion],
    holdout: Part,
    now: datetime,
) -> Probabilities | None:
    """The reference's probabilities; None where it is the champion, or no intact one has these labels."""
    with reading(engine) as c:
        every = {one.id: one for one in models.of_classifier(c, model.classifier)}
    comparable = [
        one.id
        for one in every.values()
        if one.state in ("ready", "retired") and one.config.get("labels") == model.config["labels"]
    ]
    found = reference(history, comparable)
    if champion is None or found is None or found == champion.model.id:
        return None
    if intact(engine, settings, every[found], ACTOR, now) is not None:
        return None
    return probabilities_on(engine, settings, every[found], holdout, now)


def look_at(engine: Engine, classifier: str, snapshot_id: int, history: Sequence[Promotion]) -> int:
    """The how-manieth comparison with a champion on this snapshot's holdout the coming one is."""
    compared = {
        past.model_id
        for past in history
        if past.previous_model_id is not None and past.decision != "rolled_back"
    }
    with reading(engine) as c:
        asked = [one.snapshot_id for one in models.of_classifier(c, classifier) if one.id in compared]
        patients = snapshots.holdout_patients(c, {snapshot_id, *asked})
    return next_look(asked, patients, patients.get(snapshot_id, 0))


def record(
    engine: Engine,
    model: Model,
    champion: Champion | None,
    verdict: Verdict,
    run_id: int,
    now: datetime,
    plan_before: str | None = None,
) -> Decided:
    """Write the verdict: champion, promotion and audit in one transaction; the pointer file is the caller's.

    Raises Busy where the champion is no longer the one that was looked at.
    """
    before = None if champion is None else champion.model.id
    decision: Literal["promoted", "refused"] = "promoted" if verdict.promoted else "refused"
    reasons = [asdict(reason) for reason in verdict.reasons]
    with writing(engine) as c:
        epoch = None
        if verdict.promoted:
            seen = None if champion is None else champion.epoch
            epoch = models.crown(c, model.classifier, model.id, expected_epoch=seen, now=now)
            reach("promote.crowned")
        models.add_promotion(
            c,
            classifier=model.classifier,
            decision=decision,
            model_id=model.id,
            previous_model_id=before,
            epoch=epoch,
            reasons=reasons,
            plan_sha=verdict.rules_sha,
            actor=ACTOR,
            run_id=run_id,
            now=now,
        )
        if plan_before not in (None, verdict.rules_sha):
            changed = {"from": plan_before, "to": verdict.rules_sha}
            audit.record(
                c, actor=ACTOR, action="plan changed", subject=f"classifier {model.classifier}"[:128],
                detail=changed, now=now,
            )  # fmt: skip
        detail = {"run": run_id, "champion_before": before, "epoch": epoch, "rules_sha": verdict.rules_sha}
        audit.record(c, actor=ACTOR, action=decision, subject=f"model {model.id}", detail=detail, now=now)
        reach("promote.recorded")
    reach("promote.committed")
    sentences = tuple(_sentence(reason) for reason in reasons)
    return Decided(model.id, decision, model.id if verdict.promoted else before, sentences)


def rules_of(asked: ClassifierSettings) -> Rules:
    """The rules in force."""
    return Rules(**asked.promotion.model_dump())


def _sentence(reason: dict[str, Any]) -> str:
    held = "held" if reason["passed"] else "NOT HELD"
    return f"{held}: {reason['rule']}: {reason['found']} (asked: {reason['asked']})"
