"""What `laudos encoders` prints for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from flows.cli.console import console, table
from tasks.models.encoders import EncoderLine


def tell_encoders(lines: Sequence[EncoderLine]) -> None:
    """A table to compare them in, then a line on when to choose each."""
    out = console()
    rows = [
        (
            one.name,
            _size(one),
            "-" if one.window is None else f"{one.window:,}",
            one.on_disk,
            ", ".join(one.used_by) or "-",
            _commit(one),
            one.licence or ("not stated" if one.hub else "yours"),
        )
        for one in lines
    ]
    header = ("encoder", "size", "window", "on disk", "used by", "commit", "licence")
    out.print(table(header, rows, words=3))
    for one in lines:
        told = f"{one.name}: {one.choose}" + (f" [{one.language}]" if one.language and one.hub else "")
        out.print(escape(told), style="" if one.on_disk == "yes" else "dim")
    out.print("[dim]--json tells hub names, whole commits and who made them.[/]")


def _size(one: EncoderLine) -> str:
    if one.layers is not None:
        return f"{one.layers} layers of {one.hidden_size}"
    return "-" if one.parameters is None else f"{one.parameters} M parameters"


def _commit(one: EncoderLine) -> str:
    if one.hub is None:
        return "-"
    if one.revision is None:
        return "give one"
    return one.revision[:8] + (", pickle" if one.weights == "pickle" and one.on_disk == "no" else "")
