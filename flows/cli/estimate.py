"""`laudos estimate`: what scoring the backlog will take, before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import console, lasts
from flows.cli.session import AsJson, ready, show

if TYPE_CHECKING:
    from tasks.scoring.estimate import Estimate, Plan


def add_to(app: typer.Typer) -> None:
    """Hang the command on the root."""
    app.command(epilog="Example: laudos estimate --price-per-hour 0.40 --workers 2")(estimate)


def estimate(
    classifier: Annotated[str | None, typer.Option(help="Whose backlog; default: the only one's.")] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0.0, help="What a machine like this one costs an hour.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="On how many machines, a worker each.")] = 1,
    sample_seconds: Annotated[
        float, typer.Option(min=0.0, help="About how long to try the champion on a sample.")
    ] = 15.0,
    as_json: AsJson = False,
) -> None:
    """Say what scoring the backlog will take: reports, tokens, time, memory and cost. Changes no table."""
    settings = ready()
    from tasks.scoring.estimate import estimate as ask

    told = ask(settings, classifier, sample_s=sample_seconds, price_per_hour=price_per_hour, workers=workers)
    show(told, as_json, _tell)


def _tell(told: Estimate) -> None:
    out = console()
    out.print(f"{told.classifier}, model {told.model_id}: {told.reports:,} reports wait")
    if not told.reports:
        return
    out.print(
        f"{told.to_encode:,} texts to encode, about {told.tokens:,} tokens; {told.identical:,} reports have "
        f"the text of one of them; {told.from_features:,} need only a matrix product on stored vectors"
    )
    out.print(_planned(told.plan))
    out.print(f"one more machine would save {lasts(told.saved_by_one_more_s)}: {_planned(told.one_more)}")
    out.print(f"memory at most {told.memory_mib:,.0f} MiB a worker")
    out.print(
        f"One worker: {lasts(told.start_s)} to load the model, {lasts(told.encode_s)} to encode, "
        f"{lasts(told.rest_s)} to read, answer and write. Tried on {told.tried_texts:,} texts in "
        f"{lasts(told.tried_s)}; the interval knows how texts differ, not what else this machine will do."
    )
    if told.test_s:
        out.print(
            f"Others wait {lasts(told.test_s)} while one worker reads to test for a shift; that is in it."
        )
    if not told.writing_tried:
        out.print("Others score this backlog now, so writing was not tried and is not in it.")


def _planned(plan: Plan) -> str:
    ends = (
        ""
        if plan.seconds_low is None or plan.seconds_high is None
        else f" ({lasts(plan.seconds_low)} to {lasts(plan.seconds_high)})"
    )
    cost = "" if plan.cost is None else f", cost {plan.cost:,.2f}"
    machines = "1 machine" if plan.workers == 1 else f"{plan.workers} machines"
    return f"{machines}: {lasts(plan.seconds)}{ends}{cost}"
