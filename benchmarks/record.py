"""How a benchmark's figures are kept: benchmarks/results/NAME.json, and one page made from all of them.

python -m benchmarks.record        writes benchmarks/RESULTS.md anew
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "RESULTS.md"
OF_A_READING = ("command", "date", "commit", "machine")


@dataclass(frozen=True)
class Figure:
    """One measured figure. `low` and `high` bound its 95 % interval or its range over `n` repetitions."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    n: int | None = None
    expected: str = ""  # what we thought it would be, written before it was measured


def expecting(figures: Mapping[str, Figure], expected: Mapping[str, str]) -> dict[str, Figure]:
    """The figures, each with what was thought of it before it was read."""
    return {key: replace(one, expected=expected.get(key, one.expected)) for key, one in figures.items()}


def tell(figures: Mapping[str, Figure]) -> None:
    """Print what was read, a line each, as soon as it is known."""
    widest = max(map(len, figures), default=0)
    for name, figure in figures.items():
        ends = "" if figure.low is None else f" ({figure.low:.4g} to {figure.high:.4g})"
        print(f"{name:{widest}} {figure.value:10.4g} {figure.unit}{ends}", flush=True)


def write(name: str, command: str, figures: Mapping[str, Figure]) -> Path:
    """Keep the figures of one benchmark, with the machine and the commit they were read on."""
    return _keep(name, {**_read_with(command), "figures": _plain(figures)})


def add(name: str, command: str, figures: Mapping[str, Figure]) -> Path:
    """`write` for a benchmark that is read in parts: every other figure stays until it is read again.

    Each figure says by which command, at which commit, on which day and machine it was read.
    """
    path, earlier = RESULTS / f"{name}.json", {}
    if path.exists():
        before = json.loads(path.read_text())
        theirs = {key: before[key] for key in OF_A_READING}
        earlier = {key: {**theirs, **figure} for key, figure in before["figures"].items()}
    now = _read_with(command)
    ours = {key: now[key] for key in OF_A_READING}
    read_now = {key: {**figure, **ours} for key, figure in _plain(figures).items()}
    return _keep(name, {**now, "figures": {**earlier, **read_now}})


def _read_with(command: str) -> dict[str, Any]:
    processor = _processor()
    return {
        "command": command,
        "commit": _commit(),
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} x {processor['model name']}{_gpu()}",
        "vnni": any("vnni" in flag or flag.startswith("amx") for flag in processor["flags"].split()),
    }


def _plain(figures: Mapping[str, Figure]) -> dict[str, dict[str, Any]]:
    return {key: _present(asdict(figure)) for key, figure in figures.items()}


def _keep(name: str, result: Mapping[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"name": name, **result}, indent=1, ensure_ascii=False) + "\n")
    return path


def page() -> str:
    """RESULTS.md: every kept figure, a table a benchmark."""
    parts = ["# Results", "", "Made by `make bench` from `benchmarks/results/*.json`; do not edit.", ""]
    for path in sorted(RESULTS.glob("*.json")):
        parts += _section(json.loads(path.read_text()))
    return "\n".join(parts)


def _section(result: Mapping[str, Any]) -> list[str]:
    read = dict.fromkeys(
        tuple(figure.get(key, result[key]) for key in OF_A_READING) for figure in result["figures"].values()
    )
    vnni = f" ({'with' if result['vnni'] else 'without'} VNNI)"
    lines = [
        f"## {result['name']}",
        "",
        "\n".join(
            f"`{command}`, {day}, commit {commit}, {machine}{vnni if machine == result['machine'] else ''}"
            for command, day, commit, machine in read
        ),
        "",
        "| figure | read | interval or range | unit | n | expected |",
        "|---|---:|---|---|---:|---|",
    ]
    for name, figure in result["figures"].items():
        interval = f"{figure['low']:.4g} to {figure['high']:.4g}" if "low" in figure else ""
        lines.append(
            f"| {name} | {figure['value']:.4g} | {interval} | {figure['unit']} "
            f"| {figure.get('n', '')} | {figure.get('expected', '')} |"
        )
    return [*lines, ""]


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value != ""}


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


def _gpu() -> str:
    """The GPU, where this run has loaded torch and torch has one."""
    torch = sys.modules.get("torch")
    return f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""


def _processor() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; elsewhere what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    known = {"model name": platform.processor() or platform.machine(), "flags": ""}
    if cpuinfo.exists():
        for line in cpuinfo.read_text().split("\n\n", 1)[0].splitlines():
            key, _, value = line.partition(":")
            known[key.strip()] = value.strip()
    return known


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
