"""Every scenario there is. The processes of all of them are forked from one that has imported this."""

from __future__ import annotations

from tasks.torture.clock import CLOCK
from tasks.torture.disk import DISK
from tasks.torture.every_point import FAULTPOINTS
from tasks.torture.garbage import GARBAGE
from tasks.torture.kill import KILL
from tasks.torture.late import LATE
from tasks.torture.lock import LOCK
from tasks.torture.network import NETWORK
from tasks.torture.publish import PUBLISH
from tasks.torture.scenario import Scenario
from tasks.torture.score import SCORE

ALL: tuple[Scenario, ...] = (
    KILL,
    SCORE,
    LATE,
    FAULTPOINTS,
    PUBLISH,
    NETWORK,
    DISK,
    CLOCK,
    LOCK,
    GARBAGE,
)


def names() -> list[str]:
    return [scenario.name for scenario in ALL]
