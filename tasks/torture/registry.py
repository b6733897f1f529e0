"""Every scenario there is. The processes of all of them are forked from one that has imported this."""

from __future__ import annotations

from tasks.torture.clock import CLOCK
from tasks.torture.kill import KILL
from tasks.torture.late import LATE
from tasks.torture.scenario import Scenario

ALL: tuple[Scenario, ...] = (KILL, LATE, CLOCK)


def names() -> list[str]:
    return [scenario.name for scenario in ALL]
