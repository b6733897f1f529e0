"""`laudos plan-check`: what the rules of promotion can see on one's own holdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import console, table
from flows.cli.session import AsJson, ready, show

if TYPE_CHECKING:
    from tasks.promotion.plan_check import PlanCheck


def add_to(app: typer.Typer) -> None:
    """Hang the command on the root."""
    app.command(epilog="Example: laudos plan-check --disagree 0.05")(plan_check)


def plan_check(
    classifier: Annotated[str | None, typer.Option(help="Whose holdout; default: the only one's.")] = None,
    disagree: Annotated[
        float,
        typer.Option(
            min=0.001, max=1.0, help="Share of patients that champion and challenger answer differently."
        ),
    ] = 0.1,
    as_json: AsJson = False,
) -> None:
    """Say how worn the holdout is, and what gains and losses the rules of promotion can see on it."""
    settings = ready()
    from tasks.promotion.plan_check import check_plan

    found = check_plan(settings, classifier=classifier, disagree=disagree)
    show(found, as_json, _tell)


def _tell(found: PlanCheck) -> None:
    from tasks.promotion.plan_check import LATER

    out = console()
    out.print(
        f"{found.classifier}: {found.patients} held-out patients, looked at {found.looks} times. "
        f"The next look may err with {found.error_of_next:.2g}; {found.error_left:.2g} of {found.error:g} "
        "is left."
    )
    asked = "a challenger gets through, four times in five, if its"
    rows = [
        (one.measure, str(one.patients), _gain(one.least_gain), _gain(one.least_gain_later))
        for one in found.measures
    ]
    out.print(table((asked, "patients", "now", f"{LATER} looks on"), rows, words=2))
    out.print(f"Taken that the two answer {found.disagree:.0%} of patients differently.")


def _gain(points: float | None) -> str:
    if points is None:
        return "nothing can be said"
    return (
        f"is {100 * points:.1f} points better"
        if points > 0
        else f"is at most {-100 * points:.1f} points worse"
    )
