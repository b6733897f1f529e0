"""How a benchmark's figures are kept: benchmarks/results/NAME.json, and one page made from all of them.

python -m benchmarks.record        writes benchmarks/RESULTS.md anew
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "RESULTS.md"


@dataclass(frozen=True)
class Figure:
    """One measured figure. `low` and `high` bound its 95 % interval or its range over `n` repetitions."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    n: int | None = None
    expected: str = ""  # what we thought it would be, written before it was measured


def write(name: str, command: str, figures: Mapping[str, Figure]) -> Path:
    """Keep the figures of one benchmark, with the machine and the commit they were read on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps(
            {
                "name": name,
                "command": command,
                "commit": _commit(),
                "date": date.today().isoformat(),
                "machine": f"{os.cpu_count()} x {_processor()['model name']}",
                "vnni": any(
                    "vnni" in flag or flag.startswith("amx") for flag in _processor()["flags"].split()
                ),
                "figures": {key: _present(asdict(figure)) for key, figure in figures.items()},
            },
            indent=1,
            ensure_ascii=False,
        )
        + "\n"
    )
    return path


def page() -> str:
    """RESULTS.md: every kept figure, a table a benchmark."""
    parts = ["# Results", "", "Made by `make bench` from `benchmarks/results/*.json`; do not edit.", ""]
    for path in sorted(RESULTS.glob("*.json")):
        parts += _section(json.loads(path.read_text()))
    return "\n".join(parts)


def _section(result: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## {result['name']}",
        "",
        f"`{result['command']}`, {result['date']}, commit {result['commit']}, {result['machine']}"
        f" ({'with' if result['vnni'] else 'without'} VNNI)",
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
