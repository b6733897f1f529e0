"""`laudos behaviour`: what a model makes of minimal pairs of reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.cli.console import console, heading, table, title
from flows.cli.session import AsJson, ready, show

if TYPE_CHECKING:
    from tasks.inspection.try_behaviour import Behaved


def add_to(app: typer.Typer) -> None:
    """Hang the command on the root."""
    app.command(epilog="Example: laudos behaviour --failed")(behaviour)


def behaviour(
    classifier: Annotated[str | None, typer.Option(help="Whose champion; default: the only one.")] = None,
    model: Annotated[int | None, typer.Option(help="A model's number, instead of the champion.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="paaf, mammography or a file; default: the classifier's own.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Show the pairs it gets wrong.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try a model on pairs of made-up reports that differ in one thing, such as a negation or a side."""
    settings = ready()
    from tasks.inspection.try_behaviour import try_behaviour

    behaved = try_behaviour(settings, classifier=classifier, model_id=model, suite=suite)
    show(behaved, as_json, lambda one: _tell(one, failed=failed))


def _tell(behaved: Behaved, *, failed: bool) -> None:
    """One line a part of the suite; `failed`: then each pair that is wrong, with both of its texts."""
    from tasks.inspection.try_behaviour import behaviour_words

    out = console()
    title(out, f"Model {behaved.model_id} for {behaved.classifier} on suite {behaved.suite}")
    rows = [
        (
            behaviour_words(one.of),
            f"{one.right}",
            f"{one.pairs}",
            f"{one.share:.3f} ({one.low:.2f}-{one.high:.2f})",
        )
        for one in behaved.shares
    ]
    out.print(table(("pairs", "right", "of", "share right"), rows))
    for one in behaved.failed if failed else ():
        heading(out, f"{one.pair} (line {one.line}): {one.expected} expected")
        out.print(escape(one.base), soft_wrap=True)
        out.print(f"[bold]{one.before:.3f} -> {one.after:.3f}[/]")
        out.print(escape(one.changed), soft_wrap=True)
    if behaved.failed and not failed:
        out.print("[dim]In parentheses 95 % intervals over pairs. --failed shows those that are wrong.[/]")
