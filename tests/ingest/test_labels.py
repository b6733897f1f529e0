"""What the source says of its reports is mirrored: late, corrected and withdrawn labels too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from db.ledger import Counts
from db.tables import label
from tasks.intake.quarantine_retry import retry_quarantine
from tasks.settings.settings import Settings
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row

TWO = {"paaf": PAAF, "outro": {"labels": ["x", "y"], "critical": "y"}}
Relabel = Callable[..., None]


@pytest.fixture
def relabel(desk: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str) -> Relabel:
    """`relabel(paaf="resultado", known={...})`: laudos.toml names these columns, and these values of paaf."""

    def write(known: dict[str, str] | None = None, **mapped: str) -> None:
        values: Any = PAAF["label_values"]
        paaf: Any = {**PAAF, "label_values": values | (known or {})}
        sources = {"his": columns(hospital.url, labels=mapped)}
        desk.settings = configure(database=database_url, sources=sources, classifiers={**TWO, "paaf": paaf})

    return write


def test_a_late_label_is_taken_though_the_text_is_unchanged(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now))
    desk.ingest(now)
    assert desk.labels() == {}
    hospital.change("1", resultado="M", atualizado_em=now + timedelta(days=9))
    assert desk.ingest(now + timedelta(days=10)) == Counts(read=1, unchanged=1)
    assert desk.labels() == {"1/1": "maligno"}


def test_a_late_label_that_moved_no_date_is_found_by_the_full_comparison(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now - timedelta(days=9)), row("2", now))
    desk.ingest(now)
    hospital.change("1", resultado="B")
    desk.ingest(now)
    assert desk.labels() == {}
    desk.ingest(now, full=True)
    assert desk.labels() == {"1/1": "benigno"}


def test_a_corrected_label_replaces_and_a_withdrawn_one_goes(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, resultado="M"), row("2", now, resultado="M"))
    desk.ingest(now)
    hospital.change("1", resultado="benigno ")
    hospital.change("2", resultado=None)
    desk.ingest(now)
    assert desk.labels() == {"1/1": "benigno"}


def test_a_label_that_says_the_same_keeps_its_time(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, resultado="MALIGNO"))
    for hours in (0, 1):
        desk.ingest(now + timedelta(hours=hours))
    assert [r.at for r in desk.rows(select(label.c.at))] == [now]


def test_an_amended_report_carries_its_label_to_the_new_version(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, resultado="M"))
    desk.ingest(now)
    hospital.change("1", texto="Emendado", resultado="B")
    desk.ingest(now)
    assert desk.labels() == {"1/1": "maligno", "1/2": "benigno"}


def test_the_source_does_not_touch_what_people_said(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, resultado="M"))
    desk.ingest(now)
    with desk.engine.begin() as c:
        version = c.scalar(select(label.c.report_version_id))
        said = {"report_version_id": version, "classifier": "paaf", "origin": "feedback", "actor": "ana"}
        c.execute(label.insert().values(value="benigno", at=now, **said))
    hospital.change("1", resultado=None)
    desk.ingest(now)
    assert [(r.origin, r.value) for r in desk.rows(select(label))] == [("feedback", "benigno")]


@pytest.mark.parametrize(
    ("said", "known", "then"),
    [
        (["foo", "baz"], {"foo": "maligno"}, {}),
        (["foo", "baz", "foo"], {"foo": "maligno", "baz": "benigno"}, {"1/1": "maligno"}),
    ],
)
def test_a_retry_gives_no_label_that_the_source_has_replaced(
    desk: Desk,
    hospital: Hospital,
    relabel: Relabel,
    now: datetime,
    said: list[str],
    known: dict[str, str],
    then: dict[str, str],
) -> None:
    hospital.add(row("1", now))
    for value in said:
        hospital.change("1", resultado=value)
        desk.ingest(now)
    assert desk.quarantined() == [("1", "unknown_label")]
    relabel(known, paaf="resultado")
    retry_quarantine(desk.settings)
    assert desk.labels() == then


def test_a_retry_replaces_no_label_because_another_classifiers_is_unknown(
    desk: Desk, hospital: Hospital, relabel: Relabel, now: datetime
) -> None:
    relabel(paaf="resultado", outro="data_laudo")
    hospital.add(row("1", now, resultado="foo", data_laudo="zzz"))
    desk.ingest(now)
    hospital.change("1", resultado="B")
    desk.ingest(now)
    assert desk.quarantined() == [("1", "unknown_label")]  # that of the other
    relabel({"foo": "maligno"}, paaf="resultado", outro="data_laudo")
    retry_quarantine(desk.settings)
    assert desk.labels() == {"1/1": "benigno"}


def test_a_mapping_taken_out_withdraws_no_label(
    desk: Desk, hospital: Hospital, relabel: Relabel, now: datetime
) -> None:
    said = select(label.c.classifier, label.c.value).order_by(label.c.classifier)
    relabel(paaf="resultado", outro="data_laudo")
    hospital.add(row("1", now, resultado="M", data_laudo="x"))
    desk.ingest(now)
    both = [("outro", "x"), ("paaf", "maligno")]
    for mapped in ({"paaf": "resultado"}, {}):
        relabel(**mapped)
        desk.ingest(now, full=True)
        assert desk.rows(said) == both


@pytest.mark.parametrize("number", [True, False])
def test_a_label_of_a_number_or_of_bytes_is_read_alike_on_both_databases(
    desk: Desk, hospital: Hospital, relabel: Relabel, now: datetime, database_url: str, number: bool
) -> None:
    stored = ("BYTEA", "'1'") if database_url.startswith("postgresql") else ("BLOB", "X'31'")
    kind, value = ("NUMERIC(3,1)", "1") if number else stored
    hospital.add(row("1", now))
    with hospital.engine.begin() as c:
        c.execute(text(f"ALTER TABLE laudos ADD COLUMN codigo {kind}"))
        c.execute(text(f"UPDATE laudos SET codigo = {value}"))
    relabel({"1": "maligno"}, paaf="codigo")
    desk.ingest(now)
    assert desk.labels() == {"1/1": "maligno"}
