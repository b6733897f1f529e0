"""A challenger scores along and answers nothing; a person, or the plan, lets it answer once it did enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from db import audit, candidates, models, retention, status
from db.engine import reading, writing
from db.errors import Busy, ConfigurationError, LaudosError
from db.tables import audit as audit_table
from db.tables import feature, prediction, report_version, shadow_prediction
from tasks.ml.checked_yaml import BadFile
from tasks.ml.judging.rules import Reason, Rules, Verdict
from tasks.ml.judging.shadow import cut_short_reason, shadow_reason
from tasks.models.models import list_models, reference, roll_back
from tasks.night.monitor import look_back
from tasks.night.status import candidate_told
from tasks.night.tonight import tonight
from tasks.promotion import candidacy
from tasks.promotion.approval import approve_model, decide_on, refuse_model
from tasks.promotion.candidacy import lapse, plan_sha, rules_of
from tasks.promotion.promote import Decided, look_at, record
from tasks.scoring import shadow
from tasks.scoring.classify import cut_backlog, score
from tasks.scoring.shadow import ScoredAlong, along
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital

MET = Reason("a rule", True, "found", "asked")
WAITS = {"approval": "person", "approval_within": "2d"}
ALONG = {"shadow_reports": 20, "shadow_agreement": 0.0}


def asking(hospital: Hospital, configure: Callable[..., Settings], **promotion: Any) -> Hospital:
    """The same hospital under another plan."""
    tables = TABLES | {
        "classifiers": {CLASSIFIER: TABLES["classifiers"][CLASSIFIER] | {"promotion": promotion}}
    }
    return replace(hospital, settings=configure(database=hospital.settings.database, **tables))


def classify(hospital: Hospital) -> int:
    job_id = cut_backlog.fn(hospital.run("classify"), CLASSIFIER)
    return 0 if job_id is None else score.fn(job_id).written


def judged(hospital: Hospital, model_id: int) -> Decided:
    """As if the model had met every rule now."""
    asked = hospital.settings.classifier(CLASSIFIER)
    with reading(hospital.engine) as c:
        model, champion = models.get(c, model_id), models.champion_of(c, CLASSIFIER)
    assert model is not None
    verdict = Verdict(True, (MET,), plan_sha(asked))
    now = datetime.now(UTC)
    return record(
        hospital.engine, model, champion, verdict, hospital.run("retrain"), now, None, rules_of(asked)
    )


def scored(hospital: Hospital) -> ScoredAlong:
    found = along(hospital.engine, hospital.settings, CLASSIFIER, datetime.now(UTC))
    assert found is not None
    return found


def champion(hospital: Hospital) -> int:
    with reading(hospital.engine) as c:
        found = models.champion_of(c, CLASSIFIER)
    assert found is not None
    return found.model.id


def look(hospital: Hospital, model_id: int) -> int:
    """The number of the comparison that comes next on the model's holdout."""
    with reading(hospital.engine) as c:
        model, history = models.get(c, model_id), models.promotions(c, CLASSIFIER)
    assert model is not None
    return look_at(hospital.engine, CLASSIFIER, model.snapshot_id, history)


def state(hospital: Hospital, model_id: int) -> str:
    with reading(hospital.engine) as c:
        found = candidates.latest_of(c, model_id)
    assert found is not None
    return found.state


def test_a_challenger_scores_along_apart_from_what_counts_and_answers_once_a_person_lets_it(
    both: Hospital, configure: Callable[..., Settings]
) -> None:
    town = asking(both, configure, **WAITS, **ALONG)
    town.receive(12)
    first = town.crown()
    classify(town)
    second = town.challenger(head=1)
    decided = judged(town, second)
    assert (decided.decision, decided.champion_id) == ("waiting", first)
    assert "scores 20 reports along with model 1" in decided.reasons[-1]
    assert scored(town).written == 0  # what was answered before it was judged is not its business
    town.receive(15)
    classify(town)
    found = scored(town)
    assert (found.written, found.beside.reports, found.beside.patients, found.state) == (15, 15, 15, "shadow")
    assert scored(town).written == 0  # each report once
    assert town.count(prediction) == 27
    assert town.count(prediction, prediction.c.model_id == second) == 0
    with reading(town.engine) as c:
        assert c.scalar(text("SELECT count(*) FROM current_prediction")) == 27
        seen = c.execute(text("SELECT same_label, state FROM shadow_answer")).all()
        [stands] = status.candidates(c)
    assert len(seen) == 15
    assert stands.same_label == sum(bool(row.same_label) for row in seen)
    assert "scores along, 15 of 20 reports by" in candidate_told(stands, town.settings.zone)
    with pytest.raises(LaudosError, match="still scores along"):
        approve_model(town.settings, second, "dra. Lima", "looks good")
    town.receive(10)
    classify(town)
    found = scored(town)
    assert (found.written, found.beside.reports, found.state) == (5, 20, "waiting")  # no more than was asked
    assert list_models(town.settings)[0].decision == "waits"
    with reading(town.engine) as c:
        [stands] = status.candidates(c)
        assert second in retention.in_use(c)
    assert (
        f"waits for a person until {stands.until.astimezone(town.settings.zone):%Y-%m-%d}"
        in candidate_told(stands, town.settings.zone)
    )
    approved = approve_model(town.settings, second, "dra. Lima", "its report was read")
    assert (approved.decision, approved.champion_id, champion(town)) == ("accepted", second, second)
    with reading(town.engine) as c:
        last, before = models.promotions(c, CLASSIFIER)[:2]
        assert audit.broken(c) == []
        [told] = c.execute(select(audit_table).where(audit_table.c.action == "promoted")).all()
    assert (last.decision, last.actor, last.previous_model_id) == ("promoted", "dra. Lima", first)
    assert [reason["rule"] for reason in last.reasons] == [
        "a rule", "answers beside the champion", "approval by a person",
    ]  # fmt: skip
    assert (told.actor, told.detail["because"]) == ("dra. Lima", "its report was read")
    assert "its report was read" not in str(last.reasons)  # these are shown to whoever reads the views
    assert reference([last, before], [first, second]) == second
    assert doctor(town.settings) == []
    encoded = town.count(feature)
    assert classify(town) == 37
    assert town.count(feature) == encoded


def test_without_a_person_asked_the_plan_decides_once_enough_was_scored_along(
    hospital: Hospital, configure: Callable[..., Settings]
) -> None:
    outcomes = {}
    for number, agreement in ((1, 0.0), (2, 1.0)):
        town = asking(hospital, configure, shadow_reports=5, shadow_agreement=agreement)
        town.receive(1) if number > 1 else town.crown()
        challenger = town.challenger(head=number)
        assert judged(town, challenger).decision == "waiting"
        town.receive(6)
        classify(town)
        outcomes[agreement] = (scored(town).state, champion(town) == challenger)
        assert state(town, challenger) == outcomes[agreement][0]
    assert outcomes == {0.0: ("accepted", True), 1.0: ("refused", False)}
    with reading(hospital.engine) as c:
        last = models.promotions(c, CLASSIFIER)[0]
    assert (last.decision, last.actor, last.reasons[-1]["passed"]) == ("refused", "retrain", False)


def test_of_two_judged_at_once_under_no_lock_one_waits_and_the_other_is_told_so(
    both: Hospital, configure: Callable[..., Settings]
) -> None:
    town = asking(both, configure, **WAITS)
    first, second = town.crown(), town.challenger(head=1)
    judged(town, second)
    third = town.challenger(head=2)
    with pytest.raises(Busy, match=f"while model {third} was being judged, and waits"):
        judged(town, third)
    assert (state(town, second), champion(town)) == ("waiting", first)
    refuse_model(town.settings, second, "ana", "not this one")
    assert judged(town, third).decision == "waiting"  # what is decided stands in nobody's way


def test_nobody_deciding_in_time_is_a_refusal_and_says_so(
    both: Hospital, configure: Callable[..., Settings]
) -> None:
    town = asking(both, configure, **WAITS)
    first, second = town.crown(), town.challenger(head=1)
    assert "waits for a person until" in judged(town, second).reasons[-1]
    lapse(town.engine, town.settings, datetime.now(UTC) + timedelta(days=1))
    assert state(town, second) == "waiting"
    lapse(town.engine, town.settings, datetime.now(UTC) + timedelta(days=2, minutes=1))
    assert (state(town, second), champion(town)) == ("expired", first)
    with reading(town.engine) as c:
        last = models.promotions(c, CLASSIFIER)[0]
    assert (last.decision, last.actor) == ("refused", "retrain")
    assert "nobody decided until" in last.reasons[-1]["found"]
    with pytest.raises(LaudosError, match="does not wait any more: it was expired"):
        approve_model(town.settings, second, None, "late")
    assert doctor(town.settings) == []


def test_another_champion_or_another_plan_overtakes_who_waits(
    hospital: Hospital, configure: Callable[..., Settings]
) -> None:
    town = asking(hospital, configure, **WAITS)
    first, second = town.crown(), town.challenger(head=1)
    judged(town, second)
    other = asking(hospital, configure, **WAITS, margin=0.01)
    with pytest.raises(LaudosError, match=r"overtaken .the plan changed since it was judged"):
        approve_model(other.settings, second, "ana", "fine")
    assert look(other, second) == 2
    assert judged(other, second).decision == "waiting"  # judged anew under the plan of today
    assert look(other, second) == 3  # which was a look of its own
    third = other.crown(head=2)
    with pytest.raises(LaudosError, match=r"overtaken .another champion answers"):
        approve_model(other.settings, second, "ana", "fine")
    assert champion(other) == third
    roll_back(other.engine, other.settings, CLASSIFIER, first, "ana", other.now)
    assert champion(other) == first


def test_a_suite_that_cannot_be_read_ends_no_candidacy_and_no_night(
    hospital: Hospital, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    town = asking(hospital, configure, **WAITS)
    town.crown()
    second = town.challenger(head=1)
    judged(town, second)

    def unreadable(_asked: object) -> None:
        raise BadFile("suite.yaml, line 1: half a file")

    later = datetime.now(UTC) + timedelta(days=3)
    with monkeypatch.context() as saved_half_way:
        saved_half_way.setattr(candidacy, "suite_of", unreadable)
        lapse(town.engine, town.settings, later)
        with pytest.raises(BadFile):
            lapse(town.engine, town.settings, later, CLASSIFIER)
        with pytest.raises(BadFile):
            approve_model(town.settings, second, "ana", "fine")
    assert state(town, second) == "waiting"
    lapse(town.engine, town.settings, later)
    assert state(town, second) == "expired"


def test_what_was_damaged_since_it_scored_along_is_not_let_answer_by_the_plan(
    hospital: Hospital, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    town = asking(hospital, configure, shadow_reports=5, shadow_agreement=0.0)
    first, second = town.crown(), town.challenger(head=1)
    judged(town, second)
    town.receive(6)
    classify(town)
    with monkeypatch.context() as killed:
        killed.setattr(shadow, "_decide", lambda *_: "shadow")
        assert scored(town).beside.reports == 5
    town.folder_of(second).joinpath("model.safetensors").unlink()
    with pytest.raises(LaudosError, match="model 2 cannot answer"):
        scored(town)
    assert (state(town, second), champion(town)) == ("shadow", first)


@pytest.mark.parametrize("approval", ["automatic", "person"])
def test_who_scores_along_with_a_champion_found_damaged_succeeds_it_or_waits_for_a_person(
    both: Hospital, configure: Callable[..., Settings], approval: str
) -> None:
    town = asking(both, configure, shadow_reports=20, shadow_agreement=0.0, approval=approval)
    first, second = town.crown(), town.challenger(head=1)
    judged(town, second)
    town.receive(4)
    classify(town)
    assert scored(town).written == 4
    lapse(town.engine, town.settings, datetime.now(UTC))
    assert state(town, second) == "shadow"  # the control: the champion is whole
    town.folder_of(first).joinpath("model.safetensors").unlink()
    town.receive(2)
    with pytest.raises(LaudosError, match="model 1 of 'achado' cannot be used"):
        classify(town)
    assert (state(town, second), champion(town)) == ("shadow", first)
    if approval == "person":
        lapse(town.engine, town.settings, datetime.now(UTC))
        assert (state(town, second), champion(town)) == ("waiting", first)
        approve_model(town.settings, second, "dra. Lima", "nobody else can answer")
    assert classify(town) == 6  # by the next night at the latest
    assert (state(town, second), champion(town)) == ("accepted", second)
    with reading(town.engine) as c:
        last = models.promotions(c, CLASSIFIER)[0]
        assert audit.broken(c) == []
    told = next(reason for reason in last.reasons if reason["rule"] == "answers beside the champion")
    assert "champion model 1 was found damaged after 4 of them" in told["found"]


def test_no_damaged_champion_is_succeeded_by_a_model_that_is_damaged_itself(
    hospital: Hospital, configure: Callable[..., Settings]
) -> None:
    town = asking(hospital, configure, **ALONG)
    first, second = town.crown(), town.challenger(head=1)
    judged(town, second)
    with writing(town.engine) as c:
        models.set_state(c, first, "tainted")
    models_folder = town.settings.folder / "models"
    models_folder.rename(models_folder.with_name("away"))  # as on a machine without the shared folder
    lapse(town.engine, town.settings, datetime.now(UTC))
    assert state(town, second) == "shadow"
    models_folder.with_name("away").rename(models_folder)
    town.folder_of(second).joinpath("model.safetensors").unlink()
    lapse(town.engine, town.settings, datetime.now(UTC))
    assert (state(town, second), champion(town)) == ("refused", first)  # and others are judged again


def test_a_person_turns_it_away_and_only_a_person_of_a_name_decides(
    hospital: Hospital, configure: Callable[..., Settings]
) -> None:
    town = asking(hospital, configure, **WAITS)
    first, second = town.crown(), town.challenger(head=1)
    judged(town, second)
    with reading(town.engine) as c:
        page = tonight(look_back(c, town.settings, datetime.now(UTC)))
    assert "**achado: model 2 met every rule and waits for a person until" in page
    for name, because in (
        ("retrain", "fine"),
        ("", "fine"),
        ("x" * 65, "fine"),
        ("ana", " "),
        ("ana", "x" * 501),
    ):
        with pytest.raises(ConfigurationError):  # whether a command asks or a form
            decide_on(town.engine, town.settings, second, "accepted", name, because, datetime.now(UTC))
    with pytest.raises(LaudosError, match="there is no model 9"):
        approve_model(town.settings, 9, "ana", "fine")
    with pytest.raises(LaudosError, match="model 1 does not wait for anybody"):
        refuse_model(town.settings, first, "ana", "no")
    town.folder_of(second).joinpath("model.safetensors").unlink()
    with pytest.raises(LaudosError, match="model 2 cannot answer"):
        approve_model(town.settings, second, "ana", "fine")
    assert refuse_model(town.settings, second, "ana", "not whole").champion_id == first
    assert (state(town, second), champion(town)) == ("refused", first)
    with pytest.raises(LaudosError, match="it was refused"):
        approve_model(town.settings, second, "ana", "fine")


def test_without_a_champion_nobody_is_scored_along_with_and_without_a_plan_nobody_waits(
    hospital: Hospital, configure: Callable[..., Settings]
) -> None:
    alone = hospital.challenger()
    town = asking(hospital, configure, **ALONG)
    assert judged(town, alone).decision == "promoted"
    with writing(town.engine) as c:
        models.set_state(c, alone, "tainted")  # it answers nothing any more, so nothing could be read along
    assert judged(town, town.challenger(head=2)).decision == "promoted"
    plain = asking(hospital, configure)
    assert judged(plain, plain.challenger(head=1)).decision == "promoted"
    assert along(plain.engine, plain.settings, CLASSIFIER, plain.now) is None


def test_a_report_erased_while_it_is_scored_along_leaves_no_trace(
    hospital: Hospital, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    town = asking(hospital, configure, **ALONG)
    town.crown()
    judged(town, town.challenger(body=1, head=1))
    town.receive(4)
    classify(town)

    def erase(*given: Any, **options: Any) -> Any:
        made = real(*given, **options)
        with writing(town.engine) as c:
            c.execute(report_version.update().where(report_version.c.id == 2).values(text=None))
        return made

    real = shadow.read
    monkeypatch.setattr(shadow, "read", erase)
    assert scored(town).written == 3
    assert town.count(shadow_prediction, shadow_prediction.c.report_version_id == 2) == 0


def test_the_share_that_is_asked_for_is_sure_and_reports_of_one_patient_are_one_case() -> None:
    rules = Rules(shadow_agreement=0.9)
    assert shadow_reason(200, 200, 196, rules).passed
    assert not shadow_reason(200, 20, 196, rules).passed
    assert not shadow_reason(0, 0, 0, rules).passed


def test_of_a_shadow_cut_short_only_answers_that_surely_are_others_are_held_against_it() -> None:
    rules = Rules(shadow_agreement=0.9, shadow_reports=500)
    assert cut_short_reason(0, 0, 0, 1, rules).passed
    assert cut_short_reason(10, 10, 8, 1, rules).passed
    assert not cut_short_reason(200, 200, 120, 1, rules).passed
    assert cut_short_reason(200, 2, 120, 1, rules).passed  # of two patients, who tell next to nothing
