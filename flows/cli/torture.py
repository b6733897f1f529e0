"""`laudos torture`: the worst a night can bring, on a scratch database, and whether anything was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from flows.cli.session import AsJson, end_with, show
from tasks.errors import NothingToWorkOn

if TYPE_CHECKING:
    from tasks.torture.scenario import Outcome, Scenario


def add_to(app: typer.Typer) -> None:
    """Hang the command on the root."""
    app.command(epilog="Example: laudos torture kill late --on sqlite")(torture)


def torture(
    scenarios: Annotated[list[str] | None, typer.Argument(help="Which; default: all of them.")] = None,
    on: Annotated[
        Literal["sqlite", "postgres", "both"], typer.Option(help="On which kind of database.")
    ] = "both",
    load: Annotated[
        Literal["small", "full"], typer.Option(help="small: seconds each; full: what the figures say.")
    ] = "small",
    seed: Annotated[int, typer.Option(help="The same one does the same, as far as clocks allow.")] = 1,
    no_controls: Annotated[
        bool, typer.Option("--no-controls", help="Leave out the runs with a protection switched off.")
    ] = False,
    list_them: Annotated[bool, typer.Option("--list", help="Say what there is, and run nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Kill, cut, fill and confuse laudos on a scratch database; your own is never touched.

    Exit code 1 where anything was lost, or where a protection switched off went unnoticed.
    """
    from tasks.torture.registry import ALL
    from tasks.torture.runner import torture as run
    from tasks.torture.scenario import BOTH

    if list_them:
        show([_listed(one) for one in ALL], as_json)
        return
    databases = BOTH if on == "both" else (on,)
    outcomes: list[Outcome] = []
    with _progress() as say:
        for outcome in run(scenarios or [], databases, load, seed, controls=not no_controls, progress=say):
            outcomes.append(outcome)
            if not as_json:
                typer.echo(tell(outcome))
    if as_json:
        show([{**vars(one), "passed": one.passed} for one in outcomes], as_json)
    if all(one.not_run for one in outcomes):
        raise NothingToWorkOn(f"nothing could run: {outcomes[0].not_run}")
    end_with(bool(one.violations or one.missed) for one in outcomes)


def _listed(scenario: Scenario) -> dict[str, str]:
    return {
        "scenario": scenario.name,
        "what": scenario.what,
        "negative controls": ", ".join(control.name for control in scenario.controls),
    }


def tell(outcome: Outcome) -> str:
    """A block for people: what was done how often, what was found, which controls were caught."""
    head = f"{outcome.scenario} on {outcome.database} (load {outcome.size}, seed {outcome.seed})"
    if outcome.not_run:
        return f"{head}\n  not run: {outcome.not_run}\n"
    counts = ", ".join(f"{count:,} {what}" for what, count in outcome.counts.items())
    lines = [f"{head}: {outcome.seconds:.0f} s", f"  {counts}"]
    lines.append(f"  invariant: {len(outcome.violations)} violations")
    lines += [f"    {violation}" for violation in outcome.violations]
    lines += [
        f"  without {name}: {'caught' if caught else 'MISSED'}" for name, caught in outcome.controls.items()
    ]
    return "\n".join(lines) + "\n"


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """What is going on, for a terminal; nothing where nobody watches."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("torture") as status:
        yield lambda what: status.update(what)
