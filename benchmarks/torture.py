"""Torture, measured: what was killed, cut and stopped how often, and whether anything was lost.

    python -m benchmarks.torture                          every scenario on both databases, at full load
    python -m benchmarks.torture --only score --only late  these again; the others' figures stay
    python -m benchmarks.torture --load small              a try: prints, and keeps nothing

A scenario's figures are kept as soon as it has ended, so a run that was stopped is gone on with by
`--only`. The page docs/reliability.md is made from them: python -m benchmarks.reliability
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence

from benchmarks.record import RESULTS, Figure, write
from tasks.torture.registry import ALL, names
from tasks.torture.runner import torture
from tasks.torture.scenario import BOTH, Outcome

COMMAND = "python -m benchmarks.torture"
NAME = "torture"
SEED = 1

# written down before the first full run
EXPECTED = {
    "scenarios_passed_share": "1: what does not pass is mended or told",
    "violations": "0",
    "negative_controls_missed": "0",
    "ingest_kills": "1000: 500 on each database",
    "scorer_kills": "300: 150 on each, and a few of a real BERT",
    "postgres_stops": "20",
    "bad_inputs": "20000: 10000 on each database",
}
# what is added up over scenarios and databases: the name that scenarios count it by
SUMS = {
    "ingest_kills": ("kill", "SIGKILLs of ingest"),
    "scorer_kills": ("score", "SIGKILLs of scorers"),
    "postgres_stops": ("score", "immediate stops of the server"),
    "bad_inputs": ("garbage", "bad rows"),
}


def figures_of(outcome: Outcome) -> dict[str, Figure]:
    """One scenario on one database, each figure under scenario/database/what."""
    place = f"{outcome.scenario}/{outcome.database}"
    if outcome.not_run is not None:
        return {f"{place}/passed": Figure(0, "not run")}
    return {
        f"{place}/passed": Figure(float(outcome.passed), "share"),
        f"{place}/violations": Figure(len(outcome.violations), "findings"),
        f"{place}/seconds": Figure(round(outcome.seconds), "s"),
        **{f"{place}/count/{what}": Figure(count, "times") for what, count in outcome.counts.items()},
        **{
            f"{place}/control/{name}": Figure(float(caught), "caught")
            for name, caught in outcome.controls.items()
        },
    }


def summed(parts: Mapping[str, Figure]) -> dict[str, Figure]:
    """The figures over all scenarios; one that was never run has not passed."""
    asked = [f"{one.name}/{database}" for one in ALL for database in one.databases]
    passed = sum(parts[f"{place}/passed"].value for place in asked if f"{place}/passed" in parts)
    violations = sum(part.value for name, part in parts.items() if name.endswith("/violations"))
    missed = sum(1 - part.value for name, part in parts.items() if "/control/" in name)
    values = {
        "scenarios_passed_share": (passed / len(asked), "share", len(asked)),
        "violations": (violations, "findings", None),
        "negative_controls_missed": (missed, "controls", None),
    }
    for name, (scenario, what) in SUMS.items():
        counted = (parts.get(f"{scenario}/{database}/count/{what}") for database in BOTH)
        values[name] = (sum(part.value for part in counted if part is not None), "times", None)
    return {
        name: Figure(value, unit, n=n, expected=EXPECTED[name]) for name, (value, unit, n) in values.items()
    }


def kept() -> dict[str, Figure]:
    """The figures of each scenario as they were last read, of scenarios that still exist."""
    path = RESULTS / f"{NAME}.json"
    if not path.exists():
        return {}
    figures = json.loads(path.read_text())["figures"]
    known = {(one.name, database) for one in ALL for database in one.databases}
    return {
        name: Figure(**figure)
        for name, figure in figures.items()
        if name.count("/") >= 2 and tuple(name.split("/")[:2]) in known
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=names(), help="a scenario; may be repeated")
    parser.add_argument("--on", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--load", choices=("small", "full"), default="full")
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    last = 0.0

    def say(what: str) -> None:
        nonlocal last
        if time.monotonic() - last > 1:
            last = time.monotonic()
            print(f"{last - began:6.0f} s  {what}", file=sys.stderr, flush=True)

    parts = kept() if asked.load == "full" else {}
    databases = BOTH if asked.on == "both" else (asked.on,)
    for outcome in torture(asked.only or [], databases, asked.load, asked.seed, progress=say):
        place = f"{outcome.scenario}/{outcome.database}/"
        parts = {name: part for name, part in parts.items() if not name.startswith(place)}
        parts |= figures_of(outcome)
        told = "passed" if outcome.passed else outcome.not_run or "FAILED"
        print(f"{place[:-1]}: {told}, {outcome.seconds:.0f} s, {dict(outcome.counts)}", flush=True)
        for violation in outcome.violations:
            print(f"  {violation}")
        for name in outcome.missed:
            print(f"  without {name}: MISSED")
        if asked.load == "full":
            write(NAME, COMMAND, {**summed(parts), **dict(sorted(parts.items()))})
    for name, figure in summed(parts).items():
        print(f"{name}: {figure.value:g}")


if __name__ == "__main__":
    main()
