"""What is erased on request is gone from all rows, and no ingest brings it back."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Table, insert, select, update

from db import doctor, lock
from db.engine import writing
from db.errors import Busy, ConfigurationError
from db.ledger import Counts
from db.tables import audit, feature, label, patient_group, quarantine, report, report_version, run
from tasks.upkeep.erase import Request, erase, lift, look
from tests.ingest.conftest import Desk, Hospital, row
from tests.ingest.erasing import CANARY, WHY, go, silent, sound

HOUR = timedelta(hours=1)


def test_of_an_erased_report_a_tombstone_stays_and_no_other_report_is_touched(full: Desk) -> None:
    done = go(full, "1")
    assert (done.held.reports, done.held.versions, done.held.vectors, done.held.labels) == (1, 2, 2, 1)
    assert (done.held.quarantined, done.finished, done.left) == (1, True, [])
    assert full.texts() == {"1": [None, None], "2": ["Outro laudo"], "3": [f"{CANARY} três"]}
    assert full.labels() == {"2/1": "benigno"}
    assert full.quarantined() == [("4", "no_letters")]
    versions = full.rows(select(report_version).order_by(report_version.c.id))
    (gone,) = full.rows(select(report).where(report.c.external_id == "1"))
    assert gone.erased_at is not None
    assert gone.patient_key == f"erased {gone.id}"
    emptied = [one for one in versions if one.report_id == gone.id]
    assert {(one.raw_sha, one.source_updated_at) for one in emptied} == {("0" * 64, None)}
    for table in (feature, patient_group):
        assert len(full.rows(select(table))) == 2
    sound(full)


def test_a_patients_reports_go_wherever_they_are_by_the_hospitals_own_id(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    done = go(full, patients=("p1", "p999"))
    assert (done.held.reports, done.held.quarantined, done.barred) == (2, 2, 1)
    assert (done.unknown_reports, done.unknown_patients) == ([], [2])
    assert full.texts() == {"1": [None, None], "2": ["Outro laudo"], "3": [None]}
    keys = full.rows(select(report.c.patient_key).where(report.c.current_version > 0).distinct())
    assert len(keys) == 2, "reports of one patient still share a key"
    assert full.quarantined() == []
    sound(full)
    # what lay in quarantine alone was never taken in: it stays out, too
    assert full.ingest(now + 2 * HOUR, full=True) == Counts(read=4, unchanged=4)
    assert full.quarantined() == []
    sound(full)


def test_a_full_comparison_finds_an_erased_report_neither_changed_nor_lost_night_after_night(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    go(full, "1", "4")
    for night in (1, 2):
        later = now + timedelta(days=night)
        assert full.ingest(later, full=True) == Counts(read=4, unchanged=4)
        assert full.gone() == []
        sound(full)
    hospital.remove("1")
    assert full.ingest(now + timedelta(days=3), full=True) == Counts(read=3, unchanged=3)
    assert full.gone() == ["1"]
    sound(full)


def test_new_text_two_texts_and_an_unreadable_text_of_an_erased_report_all_stay_outside(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    go(full, "1")
    for texts in ((f"{CANARY} emendado",), (f"{CANARY} um", f"{CANARY} outro"), ("--- 12 ---",)):
        hospital.remove("1")
        hospital.add(*(row("1", now + 2 * HOUR, text, resultado="M") for text in texts))
        hospital.remove("4")
        assert full.ingest(now + 2 * HOUR, full=True).new == 0
        assert full.texts()["1"] == [None, None]
        assert full.labels() == {"2/1": "benigno"}
        assert full.rows(select(quarantine).where(quarantine.c.external_id == "1")) == []
        sound(full)


def test_without_the_erasure_the_same_rows_would_come_in(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.remove("1")
    hospital.add(*(row("1", now + 2 * HOUR, text) for text in (f"{CANARY} um", f"{CANARY} outro")))
    full.ingest(now + 2 * HOUR, full=True)
    assert ("1", "conflicting_content") in full.quarantined()


def test_a_lifted_report_comes_in_again_as_a_new_version(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    go(full, "1", "4")
    hospital.change("4", texto="Agora legível", atualizado_em=now + 2 * HOUR)
    assert lift(full.settings, Request("his", ("1", "2", "4")), "dpo", WHY) == 2
    assert full.ingest(now + 2 * HOUR, full=True) == Counts(read=4, new=1, updated=1, unchanged=2)
    assert full.texts()["1"] == [None, None, f"{CANARY} dois"]
    assert full.texts()["4"] == ["Agora legível"]
    keys = dict(full.rows(select(report.c.external_id, report.c.patient_key)))
    assert keys["1"] == keys["3"] == keys["4"], "they are the patient's again"
    sound(full)


def test_a_look_changes_nothing_and_tells_what_would_go(full: Desk) -> None:
    before = full.rows(select(report_version.c.text))
    found = look(full.settings, Request("his", ("1", "77"), ("p1",)))
    assert (found.run_id, found.held.reports, found.held.versions, found.barred) == (None, 2, 3, 1)
    assert found.unknown_reports == [2]
    assert full.rows(select(report_version.c.text)) == before
    assert full.rows(select(run).where(run.c.kind == "erase")) == []


def test_the_audit_holds_counts_and_the_reason_and_nobody_is_named(full: Desk) -> None:
    go(full, "1", patients=("p1",))
    begun, ended = full.rows(select(audit).order_by(audit.c.id))
    assert (begun.actor, begun.action, begun.detail["because"]) == ("dpo", "erased", WHY)
    assert (ended.action, ended.subject) == ("erasure_finished", begun.subject)
    counts = {name: value for name, value in begun.detail.items() if name != "because"}
    assert all(isinstance(value, int) for value in counts.values())
    assert "p1" not in json.dumps(counts)
    assert "p1" not in repr(Request("his", (), ("p1",)))


def test_nobody_is_erased_while_an_ingest_is_under_way_or_from_a_source_nobody_knows(full: Desk) -> None:
    with lock.exclusive(full.engine, "ingest"), pytest.raises(Busy, match="ingest"):
        go(full, "1")
    with pytest.raises(ConfigurationError, match="'hiss'"):
        erase(full.settings, Request("hiss", ("1",)), "dpo", WHY, silent)
    with pytest.raises(ConfigurationError, match="say why"):
        erase(full.settings, Request("his", ("1",)), "dpo", " ", silent)
    assert full.texts()["1"] == [f"{CANARY} um", f"{CANARY} dois"]


def test_what_comes_back_by_another_way_is_found_by_the_doctor(full: Desk) -> None:
    go(full, "1")
    with writing(full.engine) as c:
        c.execute(update(report_version).where(report_version.c.id == 1).values(text="de um back-up"))
        broken = [one.name for one in doctor.INVARIANTS if doctor.violations(c, one.query())]
    assert broken == ["erased_leave_nothing"]
    assert go(full, "1").held.erased_before == 1
    sound(full)


def test_an_id_that_two_patients_rows_bear_stays_out_with_all_of_them(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("5", now, f"{CANARY} um", paciente="pa"), row("5", now, "Outro laudo", paciente="pb"))
    desk.ingest(now)
    assert desk.quarantined() == [("5", "conflicting_content")] * 2
    done = go(desk, patients=("pa",))
    assert (done.held.quarantined, done.barred) == (2, 1)
    sound(desk)
    desk.ingest(now + HOUR, full=True)
    assert desk.quarantined() == []
    sound(desk)


@pytest.mark.parametrize("rival", ["two rows of an id", "a patient corrected"])
def test_a_row_under_another_patients_id_is_told_to_come_back_and_that_report_is_left_alone(
    desk: Desk, hospital: Hospital, now: datetime, rival: str
) -> None:
    if rival == "two rows of an id":
        hospital.add(row("5", now, f"{CANARY} um", paciente="pa"))
    hospital.add(row("5", now + HOUR, "Outro laudo", paciente="pb"))
    desk.ingest(now + HOUR)
    if rival == "a patient corrected":
        hospital.change("5", texto="--- 12 ---", paciente="pa", atualizado_em=now + 2 * HOUR)
        desk.ingest(now + 2 * HOUR)
    before = desk.quarantined()
    assert [name for name, _ in before] == ["5"]
    request = Request(None, (), ("pa",))
    for told in (look(desk.settings, request), go(desk, patients=("pa",))):
        assert (told.held.reports, told.held.quarantined, told.barred) == (0, 1, 0)
        assert [one[: len("1 rows in quarantine bear")] for one in told.left] == ["1 rows in quarantine bear"]
    assert desk.texts() == {"5": ["Outro laudo"]}
    assert desk.quarantined() == []
    desk.ingest(now + 3 * HOUR, full=True)
    assert desk.quarantined() == before, "docs/erasure.md says otherwise"
    both = erase(desk.settings, Request("his", ("5",), ("pa",)), "dpo", WHY, silent)
    assert (both.held.quarantined, both.left) == (1, [])
    desk.ingest(now + 4 * HOUR, full=True)
    assert desk.quarantined() == []
    sound(desk)


def test_what_is_known_of_an_id_and_of_its_patient_is_known_of_both(full: Desk) -> None:
    found = look(full.settings, Request("his", ("4", "1"), ("p1",)))
    assert (found.unknown_reports, found.unknown_patients) == ([], [])


def test_a_second_call_finds_what_is_left_to_tell_and_nothing_to_empty(full: Desk) -> None:
    go(full, "1", "4", patients=("p1",))
    again = go(full, "1", "4", patients=("p1",))
    held = again.held
    assert (held.reports, held.erased_before, again.unknown_reports, again.finished) == (2, 2, [], True)
    assert (held.versions, held.vectors, held.labels, held.quarantined, again.barred) == (0, 0, 0, 0, 0)
    assert again.unknown_patients == [1], "whose they were is not known any more"
    sound(full)


def test_a_lifted_report_that_is_not_read_yet_breaks_no_promise(full: Desk) -> None:
    go(full, "1", "4")
    lift(full.settings, Request("his", ("1", "4")), "dpo", WHY)
    sound(full)


@pytest.mark.parametrize("table", [label, patient_group])
def test_whatever_is_read_off_an_erased_text_is_found_by_the_doctor(
    full: Desk, now: datetime, table: Table
) -> None:
    go(full, "1")
    said = {"classifier": "paaf", "origin": "feedback", "actor": "x", "value": "benigno", "at": now}
    with writing(full.engine) as c:
        c.execute(insert(table).values(report_version_id=1, **(said if table is label else {})))
        broken = [one.name for one in doctor.INVARIANTS if doctor.violations(c, one.query())]
    assert broken == ["erased_leave_nothing"]
    go(full, "1")
    sound(full)
