"""`laudos backends`: what can compute the champion here, how fast, and whether it answers alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import console, lasts
from flows.cli.session import AsJson, ready, show

if TYPE_CHECKING:
    from tasks.scoring.cascade_trial import Offer
    from tasks.scoring.try_backends import Tried


def add_to(app: typer.Typer) -> None:
    """Hang the command on the root."""
    app.command(epilog="Example: laudos backends")(backends)


def backends(
    classifier: Annotated[str | None, typer.Option(help="Whose champion; default: the only one's.")] = None,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Try the champion's student before it, too; some minutes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Try every back end with the champion on calibration reports; choose with `scoring.backend`."""
    settings = ready()
    from tasks.scoring.try_backends import champions_trials

    show(champions_trials(settings, classifier, cascade=cascade), as_json, _tell)


def _tell(told: Tried) -> None:
    out = console()
    out.print(f"{told.classifier}, model {told.model_id}")
    for one in told.trials:
        if one.fidelity is None:
            out.print(f"{one.backend}: {one.refused}")
            continue
        out.print(
            f"{one.backend}: {one.reports_per_s:,.0f} reports a second after {lasts(one.start_s)}; beside "
            f"torch-fp32, {one.fidelity.other_decisions} of {one.fidelity.reports:,} decisions differ and no "
            f"probability by more than {one.fidelity.largest_difference:.1g}: "
            + (f"refused, {one.refused}" if one.refused else "admitted")
        )
    if told.no_cascade is not None:
        out.print(f"cascade: {told.no_cascade}")
    if told.cascade is not None:
        out.print(_cascade(told.cascade))


def _cascade(offer: Offer) -> str:
    found = offer.choice.agreement
    return (
        f"cascade: model {offer.student_id} answers {found.answered:,} of {found.reports:,} calibration "
        f"reports, {offer.times_as_fast:.1f} times as fast in all; {found.other_decisions:,} decisions "
        f"differ (at most {found.other_decisions_share_max:.2%}), {found.critical_lost:,} of "
        f"{found.critical:,} critical labels are lost (at most {found.critical_lost_share_max:.1%}): "
        + (f"refused, {offer.refused}" if offer.refused else "offered")
    )
