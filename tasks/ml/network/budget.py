"""What a model may cost: how much of it is loaded, and how long it reads a report, beside the champion.

Both read the same reports in turn, round after round, and what counts is processor time and the median over
rounds: another program on the machine moves a clock on the wall, and now and then one round, and decides
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tasks.ml.arrays import Floats
from tasks.ml.judging.rules import Reason, Rules

MIB: Final = 2**20
LOADED: Final = (".safetensors", ".json")  # all that a published folder holds for whoever loads it

REPORTS: Final = 16  # that are timed, of all lengths
ROUNDS: Final = 7
ROUNDS_MIN: Final = 3
ENOUGH_S: Final = 20.0  # of processor time: a wide network gets ROUNDS_MIN rounds and no more

SIZE: Final = "size within budget"
SPEED: Final = "speed within budget"
TIME: Final = "time a report within budget"

Reader = Callable[[], object]  # reads the sample once
Clock = Callable[[], float]  # processor time in seconds


@dataclass(frozen=True, eq=False)
class Timed:
    """What `reports` reports took. ours, theirs: (rounds,) milliseconds a report; theirs None: alone."""

    reports: int
    ours: Floats
    theirs: Floats | None


def bytes_loaded(folder: Path) -> int:
    """Of a published folder, weights, vocabulary and what laudos adds."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in LOADED)


def sample(texts: Sequence[str]) -> list[str]:
    """At most REPORTS of them, evenly from the shortest to the longest."""
    ordered = sorted(texts, key=lambda text: (len(text), text))
    places = np.linspace(0, len(ordered) - 1, min(REPORTS, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def timed(ours: Reader, theirs: Reader | None, reports: int, clock: Clock) -> Timed:
    """Time both, in turn; who begins changes from round to round. The first round of each does not count."""
    readers = [ours] if theirs is None else [ours, theirs]
    for read in readers:
        read()  # what is made on first use: threads, buffers
    begun = clock()
    rounds: list[list[float]] = []
    while len(rounds) < ROUNDS and (len(rounds) < ROUNDS_MIN or clock() - begun < ENOUGH_S):
        took = [0.0] * len(readers)
        for at in range(len(readers)) if len(rounds) % 2 else reversed(range(len(readers))):
            since = clock()
            readers[at]()
            took[at] = clock() - since
        rounds.append(took)
    ms = 1000 * np.array(rounds) / reports
    return Timed(reports, ms[:, 0], None if theirs is None else ms[:, 1])


def asks_for_time(rules: Rules, *, beside: bool) -> bool:
    """Whether anything has to be timed. beside: there is a champion, and its encoder is another."""
    return rules.report_ms_max > 0 or (beside and rules.slower_max > 0)


def size_reason(ours: int, champion: int | None, rules: Rules) -> Reason:
    """ours, champion: bytes loaded; None: there is no champion that can be used."""
    found = f"{ours / MIB:,.1f} MiB are loaded"
    if champion is not None:
        found += f", of the champion {champion / MIB:,.1f}"
    if not rules.size_mib_max:
        return Reason(SIZE, True, found, "nothing")
    return Reason(SIZE, ours <= rules.size_mib_max * MIB, found, f"at most {rules.size_mib_max:g} MiB")


def speed_reason(found: Timed, rules: Rules) -> Reason:
    """How many times as long as the champion's a report takes: the median over rounds of the ratio."""
    assert found.theirs is not None
    ratio = float(np.median(found.ours / found.theirs))
    told = (
        f"a report takes {_ms(found.ours)} ms of processor time, with the champion {_ms(found.theirs)}: "
        f"{ratio:.2f} times as long (median of {len(found.ours)} rounds on {found.reports} holdout reports)"
    )
    return Reason(SPEED, ratio <= rules.slower_max, told, f"at most {rules.slower_max:g} times as long")


def time_reason(found: Timed, rules: Rules) -> Reason:
    """Whether a report takes no longer than the plan allows on this machine."""
    told = f"{_ms(found.ours)} ms of processor time (median of {len(found.ours)} rounds)"
    return Reason(
        TIME,
        float(np.median(found.ours)) <= rules.report_ms_max,
        told,
        f"at most {rules.report_ms_max:g} ms on this machine",
    )


def _ms(rounds: Floats) -> str:
    return f"{np.median(rounds):.3g}"
