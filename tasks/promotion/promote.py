"""Let a challenger answer if it earned it, and record why it did or did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Engine

from db import audit, candidates, models, snapshots
from db.candidates import Candidate
from db.engine import reading, writing
from db.models import Champion, Model, Promotion
from tasks.database import open_database
from tasks.ml.behaviour.gate import behaviour_reasons
from tasks.ml.behaviour.suite import Suite
from tasks.ml.faultpoints import reach
from tasks.ml.judging.fairness import fairness_reasons
from tasks.ml.judging.looks import next_look
from tasks.ml.judging.promotion import judge
from tasks.ml.judging.rules import Reason, Rules, Verdict
from tasks.ml.network.artifact import read_facts
from tasks.model_folders import folder_of, point_at_champion
from tasks.models.decisions import write_decision
from tasks.models.models import model_row, reference
from tasks.models.strayed import strayed_from
from tasks.models.usable import unusable
from tasks.person import AUTOMATIC
from tasks.promotion.candidacy import NOT_COMPARED, hold_back, lapse, plan_sha, rules_of, waits_for
from tasks.promotion.cost import budget_reasons
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.training.behaviour import run_of, suite_of
from tasks.training.evaluate import Probabilities, answers_on, baselines_on, probabilities_on
from tasks.training.finer_figures import gaps_on
from tasks.training.learning_data import Part, read_part

ACTOR = AUTOMATIC


@dataclass(frozen=True)
class Decided:
    """What became of a challenger; `champion_id` answers from now on. Reasons are whole sentences.

    waiting: it met every rule, and the plan has it wait; the last reason says for what. unchanged: nothing
    was judged anew, and the only reason says why.
    """

    model_id: int
    decision: Literal["promoted", "refused", "waiting", "unchanged"]
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
    lapse(engine, settings, now, model.classifier)
    with reading(engine) as c:
        champion = models.champion_of(c, model.classifier)
        history = models.promotions(c, model.classifier)
        pending = candidates.pending(c, model.classifier)
    settled = _settled(model, champion, history, asked, pending)
    if settled is not None:
        # a run that was killed between the rows and the file left the file behind
        point_at_champion(engine, settings, model.classifier)
        return Decided(model_id, "unchanged", champion.model.id if champion else None, (settled,))
    verdict = _verdict(engine, settings, model, champion, history, suite, now)
    with reading(engine) as c:
        plan_before = candidates.last_plan(c, model.classifier)
    decided = record(engine, model, champion, verdict, run_id, now, plan_before, rules_of(asked))
    point_at_champion(engine, settings, model.classifier)
    return decided


def _settled(
    model: Model,
    champion: Champion | None,
    history: Sequence[Promotion],
    asked: ClassifierSettings,
    pending: Sequence[Candidate],
) -> str | None:
    """Why there is nothing to judge; None where there is. While one waits no other spends a look."""
    if champion is not None and champion.model.id == model.id:
        return f"model {model.id} is the champion already"
    if model.state == "retired":
        return f"model {model.id} was rolled back from; only a person lets it answer again"
    if model.state == "tainted":
        return f"model {model.id} is tainted: its folder is not what was published"
    if pending:
        name = f"model {pending[0].model_id}"
        also = "" if pending[0].model_id == model.id else "; no other is judged until then"
        return f"{name} met every rule and {waits_for(pending[0])}{also}"
    against = None if champion is None else champion.model.id
    last = next((past for past in history if past.model_id == model.id), None)
    plan = plan_sha(asked)
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
    first = _reference_of(engine, settings, model, champion, history, now)
    behaved: list[Reason] = []
    if suite is not None:
        opponent = None if champion is None or theirs is None else run_of(settings, champion.model, suite)
        behaved = behaviour_reasons(run_of(settings, model, suite), opponent, rules_of(asked))
    rules = rules_of(asked)
    answers, unfamiliar = answers_on(engine, settings, model, holdout, now)
    facts = read_facts(folder_of(settings, model))
    gaps = gaps_on(engine, model, facts, holdout, answers, unfamiliar, rules.n_boot, settings.seed)
    costs = budget_reasons(engine, settings, model, champion, holdout.texts, rules, now)
    others = [one for one in (first, None if theirs is None or champion is None else champion.model) if one]
    fair, left_out = _fair(engine, model, others, holdout)
    verdict = judge(
        answers[fair],
        None if theirs is None else theirs[fair],
        {name: said[fair] for name, said in baselines_on(engine, settings, model, holdout).items()},
        holdout.labels_idx[fair],
        [holdout.patients[place] for place in fair],
        labels,
        asked.critical,
        rules,
        asked.sensitivity_floor,
        settings.seed,
        [*behaved, *fairness_reasons(gaps, rules), *costs],
        suite.sha if suite else None,
        reference=None if first is None else _said_by(engine, settings, first, model, holdout, now)[fair],
        newer=champion is None or champion.model.snapshot_id < model.snapshot_id,
        look=look_at(engine, model.classifier, model.snapshot_id, history),
    )
    told = [reason for reason in (why_not, left_out) if reason is not None]
    return Verdict(verdict.promoted, (*verdict.reasons, *told), verdict.rules_sha)


def _champion_on(
    engine: Engine,
    settings: Settings,
    model: Model,
    champion: Champion | None,
    holdout: Part,
    now: datetime,
) -> tuple[Probabilities | None, Reason | None]:
    """The champion's probabilities, or a reason, for the record, why there is no comparison."""
    rule, asked = NOT_COMPARED, "an intact champion with the same labels, if any"
    if champion is None:
        return None, Reason(rule, True, "there is no champion yet", asked)
    name = f"champion model {champion.model.id}"
    if champion.model.label_set != model.label_set:
        return None, Reason(rule, True, f"{name} answers with other labels", asked)
    unfit = unusable(engine, settings, champion.model, ACTOR, now)
    if unfit is not None:
        return None, Reason(rule, True, f"{name} {unfit}", asked)
    return _said_by(engine, settings, champion.model, model, holdout, now), None


def _reference_of(
    engine: Engine,
    settings: Settings,
    model: Model,
    champion: Champion | None,
    history: Sequence[Promotion],
    now: datetime,
) -> Model | None:
    """The reference; None where it is the champion, or no usable one has these labels."""
    with reading(engine) as c:
        every = {one.id: one for one in models.of_classifier(c, model.classifier)}
    comparable = [
        one.id
        for one in every.values()
        if one.state in ("ready", "retired") and one.label_set == model.label_set
    ]
    found = reference(history, comparable)
    if champion is None or found is None or found == champion.model.id:
        return None
    if unusable(engine, settings, every[found], ACTOR, now) is not None:
        return None
    return every[found]


def _said_by(
    engine: Engine, settings: Settings, other: Model, model: Model, holdout: Part, now: datetime
) -> Probabilities:
    """(reports, labels) of another model, its columns in the order of the challenger's labels."""
    theirs = other.config["labels"]
    columns = [theirs.index(label) for label in model.config["labels"]]
    return probabilities_on(engine, settings, other, holdout, now)[:, columns]


def _fair(
    engine: Engine, model: Model, others: Sequence[Model], holdout: Part
) -> tuple[list[int], Reason | None]:
    """Places of the reports that taught none of the others, and what to tell where some did.

    Where all did, all are judged on: then the others are flattered, and the challenger is not.
    """
    strayed = {one.id: strayed_from(engine, one, model.snapshot_id) for one in others}
    taught = set().union(*strayed.values())
    every = list(range(len(holdout.ids)))
    fair = [place for place in every if holdout.ids[place] not in taught]
    if len(fair) == len(every):
        return every, None
    names = " or ".join(f"model {model_id}" for model_id, some in sorted(strayed.items()) if some)
    of = f"{len(every) - len(fair):,} of {len(every):,} reports of the holdout"
    why = f"their patients taught {names} before they were corrected at the source"
    told = f"{of} are left out: {why}" if fair else f"{of} flatter it: {why}"
    return fair or every, Reason("reports that taught whom it is held against", True, told, "none")


def look_at(engine: Engine, classifier: str, snapshot_id: int, history: Sequence[Promotion]) -> int:
    """The number of the comparison with a champion that comes next on this snapshot's holdout, from 1."""
    compared = [  # one that is judged anew, after another champion or plan, is looked at anew
        past.model_id
        for past in history
        if past.previous_model_id is not None and past.decision != "rolled_back"
    ]
    with reading(engine) as c:
        compared += candidates.undecided(c, classifier)
        snapshot_of = {one.id: one.snapshot_id for one in models.of_classifier(c, classifier)}
        asked = [snapshot_of[model_id] for model_id in compared]
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
    rules: Rules | None = None,
) -> Decided:
    """Write the verdict: champion, promotion and audit in one transaction; the pointer file is the caller's.

    Where `rules` have who met them wait, a candidate instead. Raises Busy where the champion is no longer the
    one that was looked at.
    """
    before = None if champion is None else champion.model.id
    decision: Literal["promoted", "refused", "waiting"] = "promoted" if verdict.promoted else "refused"
    reasons = [asdict(reason) for reason in verdict.reasons]
    sentences = [_sentence(reason) for reason in reasons]
    with writing(engine) as c:
        if plan_before not in (None, verdict.rules_sha):
            changed = {"from": plan_before, "to": verdict.rules_sha}
            audit.record(
                c, actor=ACTOR, action="plan changed", subject=f"classifier {model.classifier}"[:128],
                detail=changed, now=now,
            )  # fmt: skip
        if verdict.promoted and rules and hold_back(c, model, champion, verdict, rules, run_id, now):
            decision = "waiting"
            sentences += [f"it {waits_for(one)}" for one in candidates.pending(c, model.classifier)]
        else:
            write_decision(
                c,
                model,
                "promoted" if verdict.promoted else "refused",
                champion=None if champion is None else (champion.model.id, champion.epoch),
                reasons=reasons,
                plan_sha=verdict.rules_sha,
                actor=ACTOR,
                run_id=run_id,
                now=now,
            )
        reach("promote.recorded")
    reach("promote.committed")
    answering = model.id if decision == "promoted" else before
    return Decided(model.id, decision, answering, tuple(sentences))


def _sentence(reason: dict[str, Any]) -> str:
    held = "held" if reason["passed"] else "NOT HELD"
    return f"{held}: {reason['rule']}: {reason['found']} (asked: {reason['asked']})"
