"""What a torture scenario is: some work on a scratch database, how hard, and what must be noticed.

A scenario does its worst and then says what it found. Nothing found, by the scenario or by the doctor,
is a pass. And because a check that cannot fail shows nothing, each scenario is run again with one
protection switched off at a time (a `Control`): then something must be found, by the check that is
there for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from db.errors import LaudosError

if TYPE_CHECKING:
    from tasks.torture.scratch import Scratch

Database = Literal["sqlite", "postgres"]
Size = Literal["small", "full"]
BOTH: tuple[Database, ...] = ("sqlite", "postgres")


class CannotRun(LaudosError):
    """What the scenario needs is not on this machine; the message says what helps."""


@dataclass(frozen=True)
class Violation:
    """Something that must not be: which check found it, and what (ids and counts)."""

    check: str
    found: str

    def __str__(self) -> str:
        return f"{self.check}: {self.found}"


@dataclass(frozen=True)
class Load:
    """How hard. Each scenario reads the fields that mean something to it."""

    kills: int = 0
    stops: int = 0  # immediate stops of a PostgreSQL server
    rows: int = 0  # or reports
    workers: int = 0
    writers: int = 0
    rounds: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Control:
    """One protection to be switched off, in the processes of a scratch database only.

    `switch_off` patches the process it is called in. `noticed_by`: the checks of which one at least must
    find something then; a failure that nobody foresaw is none of them.
    """

    name: str
    what: str
    switch_off: Callable[[], None]
    noticed_by: tuple[str, ...]
    databases: tuple[Database, ...] = BOTH
    load: Load | None = None  # None: the scenario's small one


@dataclass(frozen=True)
class Result:
    """What a scenario did how often, and what its own checks found."""

    counts: Mapping[str, int]
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """`run` does the worst to a scratch database; `small` takes seconds, `full` is what the figures say."""

    name: str
    what: str
    run: Callable[[Scratch, Load], Result]
    small: Load
    full: Load
    controls: tuple[Control, ...] = ()
    databases: tuple[Database, ...] = BOTH

    def load(self, size: Size) -> Load:
        return self.small if size == "small" else self.full


@dataclass(frozen=True)
class Outcome:
    """One scenario on one database. `controls`: name -> whether it was caught.

    `not_run`: why it cannot run here, and what helps; such a one has not passed.
    """

    scenario: str
    database: Database
    size: Size
    seed: int
    counts: Mapping[str, int] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    controls: Mapping[str, bool] = field(default_factory=dict)
    seconds: float = 0.0
    not_run: str | None = None

    @property
    def missed(self) -> list[str]:
        """Controls that no check noticed."""
        return [name for name, caught in self.controls.items() if not caught]

    @property
    def passed(self) -> bool:
        return self.not_run is None and not self.violations and not self.missed
