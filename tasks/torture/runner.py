"""Running scenarios: each on each database, then with one protection off at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

from db.errors import ConfigurationError
from tasks.errors import safe_form
from tasks.torture.registry import ALL
from tasks.torture.scenario import (
    CannotRun,
    Control,
    Database,
    Load,
    Outcome,
    Result,
    Scenario,
    Size,
    Violation,
)
from tasks.torture.scratch import Scratch, scratch
from tasks.torture.server import Server, scratch_server
from tasks.upkeep.doctor import broken_promises, doctor

Progress = Callable[[str], None]
# with other blows each time: on a busy machine a kill may fall beside what a protection guards
CONTROL_TRIES = 3


def torture(
    names: Sequence[str],
    databases: Sequence[Database],
    size: Size,
    seed: int,
    *,
    controls: bool = True,
    progress: Progress = lambda _: None,
    server: Server | None = None,
) -> Iterator[Outcome]:
    """Run the named scenarios, all of them where none is named; each outcome as soon as it is known.

    `server`: a scratch PostgreSQL server to use; by default one is started when it is first needed.
    Raises ConfigurationError for a name that is none of them.
    """
    chosen = [scenario(name) for name in names] or list(ALL)
    with _Servers(server) as servers:
        for one in chosen:
            for database in databases:
                if database in one.databases:
                    yield _outcome(one, database, size, seed, controls, servers, progress)


def scenario(name: str) -> Scenario:
    """The scenario of that name. Raises ConfigurationError naming those there are."""
    for one in ALL:
        if one.name == name:
            return one
    raise ConfigurationError(
        f"no scenario is called {name!r}; there are: {', '.join(one.name for one in ALL)}"
    )


class _Servers:
    """The scratch PostgreSQL server, started when the first scenario asks for one."""

    def __init__(self, given: Server | None) -> None:
        self._held = ExitStack()
        self._server = given

    def __enter__(self) -> _Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def server(self, database: Database) -> Server | None:
        """Raises CannotRun where PostgreSQL's programs are not there."""
        if database == "sqlite":
            return None
        if self._server is None:
            try:
                self._server = self._held.enter_context(scratch_server())
            except ConfigurationError as missing:
                raise CannotRun(str(missing)) from None
        return self._server


def _outcome(
    one: Scenario,
    database: Database,
    size: Size,
    seed: int,
    controls: bool,
    servers: _Servers,
    progress: Progress,
) -> Outcome:
    began = time.monotonic()
    outcome = Outcome(one.name, database, size, seed)
    try:
        result = _run(one, database, one.load(size), seed, None, servers, progress)
        caught = {
            control.name: _is_noticed(one, database, seed, control, servers, progress)
            for control in (one.controls if controls else ())
            if database in control.databases
        }
    except CannotRun as reason:
        return replace(outcome, not_run=str(reason), seconds=time.monotonic() - began)
    return replace(
        outcome,
        counts=result.counts,
        violations=result.violations,
        controls=caught,
        seconds=time.monotonic() - began,
    )


def _is_noticed(
    one: Scenario, database: Database, seed: int, control: Control, servers: _Servers, progress: Progress
) -> bool:
    """Whether a run with the protection off finds what it must, in one of CONTROL_TRIES."""
    load = control.load or one.small
    runs = (
        _run(one, database, load, blows, control, servers, progress)
        for blows in range(seed, seed + CONTROL_TRIES)
    )
    return any(found.check in control.noticed_by for run in runs for found in run.violations)


def _run(
    one: Scenario,
    database: Database,
    load: Load,
    seed: int,
    control: Control | None,
    servers: _Servers,
    progress: Progress,
) -> Result:
    """One run in a world of its own, the doctor at its end."""
    told = f"{one.name} on {database}" + (f", without {control.name}" if control else "")

    def say(what: str) -> None:
        progress(f"{told}: {what}")

    say("starts")
    with scratch(database, servers.server(database), f"{seed}/{one.name}/{database}", control, say) as world:
        try:
            result = one.run(world, load)
        except CannotRun:
            raise
        except Exception as error:
            # the others still run, and this one has not passed
            result = Result({}, (Violation("scenario_ends", str(safe_form(error))),))
        violations = (*result.violations, *world.violations, *_diagnosis(world))
    return replace(result, violations=violations)


def _diagnosis(world: Scratch) -> Iterator[Violation]:
    """What the doctor has to say of the scratch database."""
    try:
        for finding in broken_promises(doctor(world.settings)):
            yield Violation(finding.name, finding.found)
    except Exception as error:
        yield Violation("doctor", str(safe_form(error)))
