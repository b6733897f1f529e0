"""What changed at the source arrives once, in pages, whatever the order and the hour it was committed in."""

from __future__ import annotations

from datetime import datetime, timedelta

from db.ledger import Counts
from tests.ingest.conftest import Desk, Hospital

HOUR = timedelta(hours=1)


def row(external_id: str, at: datetime, text: str = "Punção de nódulo", **more: object) -> dict[str, object]:
    return {"id": external_id, "texto": text, "atualizado_em": at, "paciente": f"p{external_id}", **more}


def test_new_reports_are_taken_in_and_known_the_next_time(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(*(row(f"{n}", now - n * HOUR, f"Laudo {n}") for n in range(1, 11)))
    assert desk.ingest(now) == Counts(read=10, new=10)
    again = desk.ingest(now)
    assert (again.new, again.updated, again.unchanged) == (0, 0, again.read)
    assert desk.texts() == {f"{n}": [f"Laudo {n}"] for n in range(1, 11)}


def test_an_amended_report_becomes_the_next_version(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now - HOUR, "Primeira redação"), row("2", now - HOUR, "Outro laudo"))
    desk.ingest(now)
    hospital.change("1", texto="Segunda redação", atualizado_em=now)
    assert desk.ingest(now).updated == 1
    assert desk.texts() == {"1": ["Primeira redação", "Segunda redação"], "2": ["Outro laudo"]}
