"""Every scenario on both databases, small, with its negative controls: what `laudos torture` prints."""

from __future__ import annotations

import pytest

from benchmarks import reliability
from tasks.torture.registry import ALL
from tasks.torture.runner import torture
from tasks.torture.scenario import Database

PLACES = [
    pytest.param(one.name, database, marks=pytest.mark.postgres if database == "postgres" else ())
    for one in ALL
    for database in one.databases
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "database"), PLACES)
def test_nothing_is_lost_and_every_protection_switched_off_is_noticed(
    request: pytest.FixtureRequest, name: str, database: Database
) -> None:
    server = request.getfixturevalue("postgres_server") if database == "postgres" else None
    (outcome,) = torture([name], [database], "small", 1, server=server)
    if outcome.not_run:
        pytest.skip(outcome.not_run)
    assert [str(violation) for violation in outcome.violations] == []
    assert outcome.missed == []
    assert outcome.passed
    assert sum(outcome.counts.values()) > 0, "nothing was done"


def test_the_page_of_reliability_is_what_the_scenarios_and_the_figures_say() -> None:
    written = reliability.PAGE.read_text("utf-8")
    assert written == reliability.page(), "run: python -m benchmarks.reliability"
    assert all(f"| [{one.name}](#{one.name}) |" in written for one in ALL)
