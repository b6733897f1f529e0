"""The framework itself: what counts as passed, whose database is used, and what is left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from typer.testing import CliRunner

from db.errors import ConfigurationError, LaudosError
from db.trial import TrialRow
from flows.cli.app import app
from tasks.settings.settings import Settings
from tasks.torture import ingesting, oracle, registry, runner
from tasks.torture.life import Life
from tasks.torture.scenario import CannotRun, Control, Load, Outcome, Result, Scenario, Violation
from tasks.torture.scratch import Scratch
from tests.torture.test_scenarios import PLACES


def idle(world: Scratch, load: Load) -> Result:
    return Result({"things": load.rows})


def switch_nothing_off() -> None:
    """A control that breaks nothing."""


CALM = Scenario("calm", "nothing happens", idle, small=Load(rows=1), full=Load(rows=2), databases=("sqlite",))


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scenario], Outcome]:
    """Run a scenario that is none of the shipped ones, on SQLite."""

    def run(scenario: Scenario) -> Outcome:
        for module in (runner, registry):
            monkeypatch.setattr(module, "ALL", (scenario,))
        (outcome,) = runner.torture([], ["sqlite"], "small", 1)
        return outcome

    return run


def test_every_scenario_runs_on_every_database_it_names_in_the_tests() -> None:
    assert len(PLACES) >= 2 * len(registry.ALL) - 2


def test_a_control_that_no_check_notices_fails_the_scenario(only: Callable[[Scenario], Outcome]) -> None:
    assert only(CALM).passed
    missed = only(replace(CALM, controls=(Control("toothless", "", switch_nothing_off, ("any",)),)))
    assert missed.missed == ["toothless"]
    assert not missed.passed
    assert not missed.violations


def test_a_control_is_not_caught_by_a_check_that_is_not_there_for_it(
    only: Callable[[Scenario], Outcome],
) -> None:
    def fails(world: Scratch, load: Load) -> Result:
        return Result({}, (Violation("something_else", "1"),))

    assert only(replace(CALM, run=fails, controls=(Control("x", "", switch_nothing_off, ("this",)),))).missed


def test_a_scenario_that_fails_by_itself_has_not_passed_and_tells_no_text(
    only: Callable[[Scenario], Outcome],
) -> None:
    def fails(world: Scratch, load: Load) -> Result:
        raise ValueError("CANARIO")

    (found,) = only(replace(CALM, run=fails)).violations
    assert found.check == "scenario_ends"
    assert "CANARIO" not in found.found


def test_what_cannot_run_here_says_why_and_has_not_passed(only: Callable[[Scenario], Outcome]) -> None:
    def cannot(world: Scratch, load: Load) -> Result:
        raise CannotRun("no tmpfs; run it as root")

    outcome = only(replace(CALM, run=cannot))
    assert outcome.not_run == "no tmpfs; run it as root"
    assert not outcome.passed


def test_an_unknown_scenario_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="no scenario is called 'kil'; there are: kill"):
        list(runner.torture(["kil"], ["sqlite"], "small", 1))


def test_the_users_database_is_never_touched_and_nothing_is_left(
    only: Callable[[Scenario], Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []

    def look(world: Scratch, load: Load) -> Result:
        child = world.run(tell_database)
        seen.extend([world.settings.database, child.told[0], str(world.folder)])
        return Result({})

    mine = f"sqlite:///{tmp_path}/mine.db"
    monkeypatch.setenv("LAUDOS_DATABASE", mine)
    monkeypatch.setenv("LAUDOS_CONFIG", str(tmp_path / "mine.toml"))
    assert only(replace(CALM, run=look)).passed
    assert seen[0] == seen[1] != mine
    assert os.environ["LAUDOS_DATABASE"] == mine
    assert list(tmp_path.iterdir()) == []
    assert not Path(seen[2]).exists()


def tell_database(settings: Settings, tell: Connection) -> None:
    tell.send(settings.database)


def fail(settings: Settings, tell: Connection) -> None:
    raise LaudosError("it failed")


def test_a_process_that_fails_unasked_is_a_violation(only: Callable[[Scenario], Outcome]) -> None:
    def run(world: Scratch, load: Load) -> Result:
        world.run(fail, allowed=("LaudosError",))
        world.run(fail)
        return Result({})

    (found,) = only(replace(CALM, run=run)).violations
    assert str(found) == "unexpected_error: LaudosError: it failed"


def test_the_oracle_finds_what_was_lost_made_up_or_counted_twice(only: Callable[[Scenario], Outcome]) -> None:
    found: list[set[str]] = []

    def run(world: Scratch, load: Load) -> Result:
        life = Life(world.hospital, world.rng, ingesting.now, "x")
        life.arrive(5)
        world.run(ingesting.once, True)
        assert oracle.compare(world) == []
        at = ingesting.now()
        world.hospital.put([TrialRow("x1", "Laudo novo", at), TrialRow(None, "Sem id", at, sound=False)])
        world.hospital.remove(["x000001"])
        found.append({one.check for one in oracle.compare(world)})
        return Result({})

    only(replace(CALM, run=run))
    assert found == [{"source_is_here", "bad_rows_wait", "gone_is_gone"}]


def test_the_command_lists_what_there_is_and_ends_with_1_on_a_missed_control(
    only: Callable[[Scenario], Outcome],
) -> None:
    listed = CliRunner().invoke(app, ["torture", "--list"])
    assert listed.exit_code == 0
    assert "kill" in listed.output
    only(replace(CALM, controls=(Control("toothless", "", switch_nothing_off, ("any",)),)))
    ended = CliRunner().invoke(app, ["torture", "--on", "sqlite"])
    assert ended.exit_code == 1
    assert "invariant: 0 violations" in ended.output
    assert "without toothless: MISSED" in ended.output


def test_a_control_whose_blows_fell_beside_is_struck_again_with_others(
    only: Callable[[Scenario], Outcome],
) -> None:
    """Where nothing of the scenario itself is run again: a violation there counts at once."""
    runs = []

    def sometimes(world: Scratch, load: Load) -> Result:
        runs.append(load)
        return Result({}, (Violation("this", "1"),) if len(runs) == 3 else ())

    outcome = only(replace(CALM, run=sometimes, controls=(Control("x", "", switch_nothing_off, ("this",)),)))
    assert outcome.passed
    assert len(runs) == 3, "once whole, twice with the protection off"
