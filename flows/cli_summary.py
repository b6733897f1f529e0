"""The night's summary as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from tasks.summary import FIGURES, SUBJECTS, Answering, Figure, Judged, NightTold

_WIDTH = 116
_POPULATIONS = {
    "holdout": "on held-out patients",
    "source": "on the hospital's own labels, as far as known",
}


def print_night(told: NightTold, console: Console | None = None, *, commands: Sequence[str] = ()) -> None:
    """Print the summary; `commands` are what to try next."""
    out = console or Console(width=_WIDTH, highlight=False)
    took = "" if told.took_s is None else f", {told.took_s:,.0f} s"
    out.rule(f"[bold]nightly run {told.run_id}{took}", align="left")
    if told.nothing_new:
        out.print("[bold]Nothing was new:[/] 0 reports encoded, 0 predictions written.")
    _came_in(told, out)
    for one in told.classifiers:
        _trained(told, one, out)
        _judged(one, out)
        _answered(told, one, out)
    _quarantine(told, out)
    _where(told, commands, out)


def _came_in(told: NightTold, out: Console) -> None:
    _heading(out, "What came in")
    rows = [
        (one.source, one.read, one.new, one.updated, one.unchanged, one.quarantined) for one in told.read
    ]
    if rows:
        header = ("source", "read", "= new", "+ updated", "+ unchanged", "+ quarantined")
        out.print(_table(header, [[_cell(value) for value in row] for row in rows]))
    else:
        out.print("No source was read.")


def _trained(told: NightTold, one: Answering, out: Console) -> None:
    name = one.status.classifier
    _heading(out, f"{name}: what was trained")
    decisions = [decision for decision in told.decisions if decision.classifier == name]
    for decision in decisions:
        how = {"full": "the whole network", "head": "the last layer only"}[decision.trained]
        out.print(
            f"model {decision.model_id} ({how}, {decision.reports:,} labelled reports): "
            f"[bold]{decision.decision.replace('_', ' ')}[/]"
        )
        for reason in decision.reasons:
            if "rule" in reason:
                mark = "[green]passed[/]" if reason["passed"] else "[red]failed[/]"
                out.print(f"  {mark}  {reason['rule']}: {reason['found']} (asked: {reason['asked']})")
    if not decisions:
        standing = "no champion yet" if one.status.champion is None else f"model {one.status.champion} stays"
        out.print(f"Nothing: the labels and the configuration are the same; {standing}.")
    for split, labels in one.taught_by.items():
        counts = ", ".join(f"{count:,} {label}" for label, count in labels.items())
        out.print(f"  {split}: {one.patients.get(split, 0):,} patients, reports: {counts}")


def _judged(one: Answering, out: Console) -> None:
    for judged in one.judged:
        title = f"{one.status.classifier}: how good it is {_POPULATIONS[judged.population]}"
        _heading(out, f"{title} (critical: {one.critical}; 95 % intervals over patients)")
        names = list(FIGURES)
        rows = [
            [SUBJECTS[subject], *(_figure(figures.get(name)) for name in names)]
            for subject, figures in judged.figures.items()
        ]
        out.print(_table(["", *(FIGURES[name] for name in names)], rows))
        out.print(f"[dim]{_stands_on(judged)}[/]")


def _answered(told: NightTold, one: Answering, out: Console) -> None:
    name = one.status.classifier
    _heading(out, f"{name}: what was answered")
    tonight = [scored for scored in told.scored if scored.classifier == name]
    encoded, written = (sum(getattr(s, what) for s in tonight) for what in ("encoded", "written"))
    out.print(f"tonight: {encoded:,} reports encoded, {written:,} predictions written")
    if one.status.champion is not None:
        out.print(
            f"in all, by model {one.status.champion}: {one.status.predicted:,} reports; "
            f"[bold]{one.status.for_review:,} wait for a person[/]; "
            f"{one.status.backlog or 0:,} not scored yet"
        )


def _quarantine(told: NightTold, out: Console) -> None:
    _heading(out, "In quarantine, waiting for a person")
    rows = [[one.reason, one.source, _cell(one.waiting)] for one in told.quarantine]
    out.print(_table(("reason", "source", "rows"), rows) if rows else "Nothing.")


def _where(told: NightTold, commands: Sequence[str], out: Console) -> None:
    _heading(out, "Where it is")
    # soft_wrap: a path must stay one piece to be copied
    for what, place in (
        ("configuration", told.configuration),
        ("database", told.database),
        ("models", told.models),
    ):
        out.print(f"{what:14} {place}", soft_wrap=True, markup=False)
    if commands:
        _heading(out, "Next")
        for command in commands:
            out.print(f"  {command}", soft_wrap=True, markup=False)
    out.print(f"\n[dim]{told.caveat}[/]")


def _heading(out: Console, text: str) -> None:
    out.print(f"\n[bold]{text}[/]")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=number > 0)
    for row in rows:
        table.add_row(*row)
    return table


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _figure(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    ends = "" if figure.low is None or figure.high is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{ends}".replace("[", r"\[")


def _stands_on(judged: Judged) -> str:
    figures = judged.figures.get("model", {})
    told = [f"{FIGURES[name]}: {figure.n:,}" for name, figure in figures.items()]
    return "each figure stands on so many - " + "; ".join(told) if told else ""
