"""The night's summary as a person reads it on a terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from flows.cli.console import heading, table
from tasks.intake.quarantine import MEANINGS
from tasks.night.summary import FIRST_FIGURES, SUBJECTS, Answering, Cleared, Figure, Judged, NightTold

_WIDTH = 100
_POPULATIONS = {
    "holdout": "held-out patients",
    "source": "the hospital's own labels, as far as known",
}
_HOW = {"full": "the whole network", "head": "the last layer only"}
_EXAMPLE = "Núcleos volumosos, anisocariose acentuada, macronucléolos."


def print_night(told: NightTold, console: Console | None = None, *, commands: Sequence[str] = ()) -> None:
    """Print the summary; `commands` are what to try next."""
    out = console or Console(width=_width(), highlight=False)
    took = "" if told.took_s is None else f", {told.took_s:,.0f} s"
    out.rule(f"[bold]nightly run {told.run_id}{took}", align="left")
    if told.nothing_new:
        out.print("[bold]Nothing was new:[/] 0 reports encoded, 0 predictions written.")
    _came_in(told, out)
    for one in told.classifiers:
        _trained(told, one, out)
        for judged in one.judged:
            print_judged(judged, one.critical, out, f"{one.status.classifier}: ")
        _answered(told, one, out)
    _quarantine(told, out)
    _where(told, commands, out)


def next_commands(told: NightTold) -> list[str]:
    """What to try after this night: the champion, or where there is none, what may earn one."""
    laudos = f"laudos --config {shlex.quote(told.configuration)}"
    waiting = [f"{laudos} quarantine list      # what could not be read, and why"] if told.quarantine else []
    if any(one.status.champion is not None for one in told.classifiers):
        return [
            f"{laudos} nightly              # a second night: nothing is new, nothing is encoded",
            f'{laudos} predict "{_EXAMPLE}"',
            *waiting,
            f"{laudos} models list          # who answers, and how it got there",
        ]
    shows = [
        f"{laudos} models show {judged.model_id}        # its figures, and every rule it met or missed"
        for one in told.classifiers
        for judged in one.judged[:1]
    ]
    return [
        *shows,
        f"edit {shlex.quote(told.configuration)}: more labelled reports, or more epochs; then",
        f"{laudos} retrain              # trains and judges another challenger",
        f"{laudos} classify             # once one was promoted",
        *waiting,
    ]


def _came_in(told: NightTold, out: Console) -> None:
    heading(out, "What came in")
    rows = [(one.source, one.read, one.new, one.updated, one.unchanged, one.quarantined) for one in told.read]
    if rows:
        header = ("source", "read", "= new", "+ updated", "+ unchanged", "+ quarantined")
        out.print(table(header, [[_cell(value) for value in row] for row in rows]))
    else:
        out.print("No source was read.")


def _trained(told: NightTold, one: Answering, out: Console) -> None:
    name = one.status.classifier
    heading(out, f"{name}: what was trained")
    decisions = [decision for decision in told.decisions if decision.classifier == name]
    for decision in decisions:
        out.print(
            f"model {decision.model_id} ({_HOW[decision.trained]}, {decision.reports:,} labelled reports): "
            f"[bold]{decision.decision.replace('_', ' ')}[/]"
        )
        print_rules(decision.reasons, out, brief=True)
    waits = [sentence for sentence in told.candidates if sentence.startswith(f"{name}: ")]
    for sentence in waits:
        out.print(f"[bold]{escape(sentence.removeprefix(f'{name}: '))}[/]", soft_wrap=True)
    if not decisions and not waits:
        standing = "no champion yet" if one.status.champion is None else f"model {one.status.champion} stays"
        out.print(f"Nothing: the labels and the configuration are the same; {standing}.")
    for split, labels in one.taught_by.items():
        counts = ", ".join(f"{count:,} {label}" for label, count in labels.items())
        out.print(escape(f"  {split}: {one.patients.get(split, 0):,} patients, reports: {counts}"))


def print_rules(reasons: Iterable[Mapping[str, Any]], out: Console, *, brief: bool = False) -> None:
    """Every rule of a decision, those that were missed first; `brief`: of the others the names only."""
    rules = sorted((one for one in reasons if "rule" in one), key=lambda one: bool(one["passed"]))
    told = [one for one in rules if not (brief and one["passed"])]
    rows: list[list[str | Text]] = [
        [
            Text("  held", "green") if one["passed"] else Text("  MISSED", "bold red"),
            *(str(one[key]) for key in ("rule", "found", "asked")),
        ]
        for one in told
    ]
    if told:
        out.print(table(("", "rule", "found", "asked"), rows, words=1))
    if len(told) < len(rules):
        out.print(escape(f"  held: {', '.join(one['rule'] for one in rules if one['passed'])}"))


def print_judged(judged: Judged, critical: str, out: Console, before: str = "") -> None:
    """One model beside the baselines, and in words where a baseline is better."""
    standing = "champion" if judged.champion else "not the champion"
    heading(
        out, f"{before}how good model {judged.model_id} ({standing}) is on {_POPULATIONS[judged.population]}"
    )
    rows = [
        [
            SUBJECTS.get(subject, f"model {judged.model_id}"),
            *(_figure(figures.get(name)) for name in FIRST_FIGURES),
        ]
        for subject, figures in judged.figures.items()
    ]
    out.print(table(["", *FIRST_FIGURES.values()], rows))
    for sentence in judged.better:
        out.print(f"[bold]{escape(sentence)}[/]")
    out.print(f"[dim]{escape(_stands_on(judged, critical))}[/]")
    if "measurements" in judged.figures:
        out.print("[dim]The measurements are what synthetic texts are written from: their ceiling.[/]")


def _answered(told: NightTold, one: Answering, out: Console) -> None:
    name = one.status.classifier
    heading(out, f"{name}: what was answered")
    if one.status.champion is None:
        out.print("[bold]Nothing: there is no champion.[/] The reports wait until a challenger earns it.")
        return
    tonight = [scored for scored in told.scored if scored.classifier == name]
    encoded, written = (sum(getattr(s, what) for s in tonight) for what in ("encoded", "written"))
    out.print(f"tonight: {encoded:,} reports encoded, {written:,} predictions written")
    if any(s.shifted for s in tonight):
        out.print("[bold]They are unlike those that calibrated the model: no sure answer is given.[/]")
    out.print(
        f"in all, by model {one.status.champion}: {one.status.predicted:,} reports; "
        f"[bold]{one.status.for_review:,} wait for a person[/]; "
        f"{one.status.backlog or 0:,} not scored yet"
    )


def _quarantine(told: NightTold, out: Console) -> None:
    heading(out, "In quarantine, waiting for a person")
    rows = [
        [one.source, _cell(one.waiting), one.reason, MEANINGS.get(one.reason, "")] for one in told.quarantine
    ]
    out.print(table(("source", "rows", "reason", "which means"), rows, words=2) if rows else "Nothing.")
    if told.cleared != Cleared():
        heading(out, "Removed under the retention rules")
        out.print(escape(str(told.cleared)))


def _where(told: NightTold, commands: Sequence[str], out: Console) -> None:
    heading(out, "Where it is")
    # soft_wrap: a path must stay one piece to be copied
    for what, place in (
        ("configuration", told.configuration),
        ("database", told.database),
        ("models", told.models),
        ("reports", told.reports),
    ):
        out.print(f"{what:14} {place}", soft_wrap=True, markup=False)
    if commands:
        heading(out, "Next")
        for command in commands:
            out.print(f"  {command}", soft_wrap=True, markup=False)
    out.print(f"\n[dim]{told.caveat}[/]")


def _width() -> int:
    return min(_WIDTH, Console().width) if sys.stdout.isatty() else _WIDTH


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _figure(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    ends = "" if figure.low is None or figure.high is None else f" ({figure.low:.2f}-{figure.high:.2f})"
    return f"{figure.value:.3f}{ends}"


def _stands_on(judged: Judged, critical: str) -> str:
    told = {name: figure.n for name, figure in judged.figures.get("model", {}).items()}
    counts = [
        f"{told[name]:,} {what}"
        for name, what in (
            ("auroc_report", "reports"),
            ("sensitivity", critical),
            ("auroc_patient", "patients of one label"),
        )
        if name in told
    ]
    return f"Critical: {critical}. 95 % intervals over patients. Stands on: {', '.join(counts)}."
