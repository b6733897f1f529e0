"""A report of two million characters waits for a person; one just below the limit is read to its end."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from db.engine import reading
from db.ledger import Counts
from db.tables import prediction, quarantine, report, report_version
from tasks.ml.reading.cleaning import CHARACTERS_MAX
from tasks.upkeep.doctor import doctor
from tests.bad_input.conftest import House

REPORTS = 100
HUGE, LARGE = REPORTS, REPORTS + 1


@pytest.fixture
def taught(house: House) -> House:
    """A hospital with a champion that has answered everything."""
    house.receive(range(REPORTS))
    house.ingest()
    house.retrain()
    assert house.classify().written == REPORTS
    return house


def test_a_report_of_two_million_characters_waits_and_holds_up_nobody(taught: House) -> None:
    taught.receive([HUGE], "paciente sem queixas " * 100_000)
    taught.receive([LARGE])
    counts = taught.ingest(full=True)
    assert counts == Counts(read=REPORTS + 2, new=1, unchanged=REPORTS, quarantined=1)
    with reading(taught.engine) as c:
        waiting = c.execute(select(quarantine.c.external_id, quarantine.c.reason, quarantine.c.state)).all()
    assert waiting == [(f"L{HUGE}", "too_long", "waiting")]
    assert taught.classify().written == 1
    assert taught.count(report) == taught.count(prediction) == REPORTS + 1
    assert doctor(taught.settings) == []


def test_a_report_just_below_the_limit_is_read_to_its_last_word(taught: House) -> None:
    words = "paciente sem queixas "
    taught.receive([LARGE], words * (CHARACTERS_MAX // len(words) - 1) + "fim")
    assert taught.ingest().new == 1
    scored = taught.classify()
    assert (scored.written, scored.quarantined) == (1, 0)
    query = (
        select(prediction.c.tokens_seen, prediction.c.tokens_total)
        .join(report_version, report_version.c.id == prediction.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(report.c.external_id == f"L{LARGE}")
    )
    with reading(taught.engine) as c:
        [(seen, total)] = c.execute(query).all()
    assert seen == total > CHARACTERS_MAX // len(words) * 3
    assert doctor(taught.settings) == []
