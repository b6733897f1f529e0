"""The budget of the plan at work: a challenger that costs too much is refused, and on record why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from db.engine import reading
from tasks.ml.judging.rules import Rules
from tasks.ml.network.budget import SIZE, SPEED, TIME
from tasks.night.monitor import look_back
from tasks.night.tonight import tonight
from tasks.promotion.cost import budget_reasons
from tasks.promotion.promote import Decided, decide
from tasks.training.plan import How
from tests.learning.retraining import challenge, champion_of, decisions, model_of
from tests.learning.world import TRAINING, World

HOSPITAL = range(80)


def plan(**asked: Any) -> dict[str, Any]:
    return {"holdout_patients_min": 5, "ece_margin": 0.5} | asked


def judged(world: World, how: How = "auto") -> Decided:
    """Train and judge; what the report tells besides is not measured."""
    made = challenge(world, how)
    return decide(world.engine, world.settings, world.run("retrain"), made.model_id, world.now)


def test_a_bloated_challenger_is_refused_under_the_budget_and_promoted_without_it(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world = reconfigured(world, promotion=plan(size_mib_max=1.0, slower_max=0))
    world.add(HOSPITAL)
    assert judged(world).decision == "promoted"
    world.add(range(80, 90))
    wide = TRAINING | {"hidden_size": 256}
    limited = reconfigured(world, training=wide, promotion=plan(size_mib_max=1.0, slower_max=0))
    bloated = judged(limited, "full")
    assert bloated.decision == "refused"
    missed = [one for one in bloated.reasons if one.startswith("NOT HELD")]
    assert len(missed) == 1
    assert "MiB are loaded, of the champion 0." in missed[0]
    assert "(asked: at most 1 MiB)" in missed[0]
    assert {reason["rule"] for reason in decisions(world)[-1].reasons if not reason["passed"]} == {SIZE}
    unlimited = reconfigured(world, training=wide, promotion=plan(size_mib_max=0, slower_max=0))
    run_id = world.run("retrain")
    again = decide(unlimited.engine, unlimited.settings, run_id, bloated.model_id, world.now)
    assert again.decision == "promoted"  # the control: nothing else was missed
    with reading(world.engine) as c:
        page = tonight(look_back(c, unlimited.settings, world.now))
    assert f"- {SIZE}: " in page


def test_a_slow_challenger_is_refused_and_a_head_on_the_champion_s_encoder_is_not_timed(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    first = judged(world).model_id
    deep = reconfigured(world, training=TRAINING | {"layers": 16, "hidden_size": 64, "epochs": 0.2})
    deep.add(range(80, 86))
    slow = judged(deep, "full")
    told = {reason["rule"]: reason for reason in decisions(deep)[-1].reasons}
    assert not told[SPEED]["passed"]
    assert "times as long (median of" in told[SPEED]["found"]
    assert champion_of(deep).model.id == first
    rules, now = Rules(report_ms_max=1e6), datetime.now(UTC)
    texts = ["Laudo. nucleos regulares."] * 3
    unlimited = budget_reasons(
        deep.engine, deep.settings, model_of(deep, slow.model_id), champion_of(deep), texts,
        Rules(slower_max=0), now,
    )  # fmt: skip
    assert [(one.rule, one.passed) for one in unlimited] == [(SIZE, True)]  # the control
    head = challenge(world)
    assert head.trained == "head"
    alike = budget_reasons(
        world.engine, world.settings, model_of(world, head.model_id), champion_of(world), texts, rules, now
    )
    assert [(one.rule, one.passed) for one in alike] == [(SIZE, True), (SPEED, True), (TIME, True)]
    assert "nothing was timed" in alike[1].found
