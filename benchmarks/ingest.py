"""Ingest end to end against the best plain loader, its memory, and what a night of nothing new costs.

    python -m benchmarks.ingest                                    100k reports; memory at 1M
    python -m benchmarks.ingest --reports 5000 --big 20000         a quick look, recorded nowhere

**Ours** is one whole ingest into a fresh database: read from a source of the same kind (pages by time and
id), decode, clean, hash, decide, write reports, versions and labels, ledger and watermark, one transaction
a page, the settings as they are by default. Reports are Portuguese, 1.7 kB, in a dozen lines; one in ten
bears a label.

**Raw** has the same rows ready in memory and does nothing but load them, a transaction as large as ours at
a time. On SQLite: one `executemany` into one plain table, of which only (source, external id) is a key,
with the pragmas of our own connections. On PostgreSQL: COPY into a temporary table and two
`INSERT ... SELECT` into the tables `report` and `report_version` themselves, all keys of theirs included.
Beside these: `own_tables`, the very rows that ours leaves in `report` and `report_version`, ready-made and
loaded by our own bulk load (what the two tables and their keys cost), and on PostgreSQL `plain_copy`, one
COPY into one plain table. Raw and ours take turns in one run; a share is that of one pair. PostgreSQL runs
with its defaults, fsync on.

**Memory** is the peak of a process that does nothing else: 1M reports over 100k, ingest and full
comparison, on both databases. **Reconciliation** is that full comparison where nothing changed.

**Profile**: the processor time of one more ingest, both of its threads, stage by stage.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import raw_loaders, town
from benchmarks.ingest_alone import SOURCE, ingest, prepare
from benchmarks.processor_time import processor_time
from benchmarks.record import Figure, tell, write
from tasks.settings.settings import Settings
from tasks.torture.server import scratch_server

COMMAND = "python -m benchmarks.ingest"
REPETITIONS = 5
REPORTS, BIG = 100_000, 1_000_000

# written down before the first run
EXPECTED = {
    "sqlite_share_of_raw": "0.4 to 0.6: a second table, its keys and Python itself",
    "postgres_share_of_raw": "0.6 to 0.9: no stage, and the server loads while we clean",
    "memory_1m_over_100k": "1.0 to 1.05: a page and a bit a report",
}


@dataclass(frozen=True)
class Kind:
    """A kind of database: `new` makes a fresh, empty one and gives its URL."""

    name: str
    new: Callable[[], str]
    remove: Callable[[str], None]
    loaders: dict[str, raw_loaders.Loader]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="ingest against plain loaders, memory, reconciliation")
    parser.add_argument("--reports", type=int, default=REPORTS)
    parser.add_argument("--big", type=int, default=BIG)
    asked = parser.parse_args(arguments)
    figures: dict[str, Figure] = {}
    with kinds() as every:
        for kind in every:
            figures |= rates(kind, asked.reports)
            figures |= at_two_sizes(kind, asked.reports, asked.big)
    worst = max(figure.value for name, figure in figures.items() if name.endswith("_memory_ratio"))
    figures["memory_1m_over_100k"] = Figure(worst, "ratio", expected=EXPECTED["memory_1m_over_100k"])
    tell(figures)
    if (asked.reports, asked.big) == (REPORTS, BIG):
        print(f"wrote {write('ingest', COMMAND, figures)}")


@contextmanager
def kinds() -> Iterator[list[Kind]]:
    with tempfile.TemporaryDirectory(prefix="laudos-bench-") as folder, scratch_server(fsync=True) as server:

        def new_file() -> str:
            return f"sqlite:///{tempfile.mkdtemp(dir=folder)}/some.db"

        def remove_file(url: str) -> None:
            shutil.rmtree(Path(url.removeprefix("sqlite:///")).parent)

        sqlite = {"raw": raw_loaders.sqlite_plain, "own_tables": raw_loaders.own_tables}
        postgres = {
            "raw": raw_loaders.postgres_stage,
            "own_tables": raw_loaders.own_tables,
            "plain_copy": raw_loaders.postgres_plain,
        }
        yield [
            Kind("sqlite", new_file, remove_file, sqlite),
            Kind("postgres", server.new_database, server.drop, postgres),
        ]


def rates(kind: Kind, reports: int) -> dict[str, Figure]:
    """Rows a second of raw and ours, turn by turn, and ours as a share of raw."""
    rows = list(town.rows(reports))
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", *kind.loaders)}
    with emptied(kind) as source:
        town.fill(source, reports)
        for _ in range(REPETITIONS):
            with fresh(kind, source) as settings:
                took, counts = ingest(settings)
                if counts.new != reports:
                    raise SystemExit(f"of {reports} reports {counts.new} were taken in; nothing was measured")
                seconds["ours"].append(took)
                asked = settings.source(SOURCE)
            page_rows = min(asked.page_rows, asked.page_bytes // town.TEXT_BYTES)
            for name, loader in kind.loaders.items():
                with emptied(kind) as url:
                    seconds[name].append(loader(url, rows, page_rows))
        with fresh(kind, source) as settings:
            profile, waiting = processor_time(lambda: ingest(settings))
    figures = {
        f"{kind.name}_{name}_rows_per_s": _figure([reports / one for one in took], "rows/s")
        for name, took in seconds.items()
    }
    for name in kind.loaders:
        key = f"{kind.name}_share_of_{name}"
        shares = [other / ours for other, ours in zip(seconds[name], seconds["ours"], strict=True)]
        figures[key] = _figure(shares, "share", EXPECTED.get(key, ""))
    figures[f"{kind.name}_profile_waiting"] = Figure(waiting, "share")
    return figures | {
        f"{kind.name}_profile_{name}": Figure(1e6 * took_s / reports, "us a report")
        for name, took_s in profile.items()
    }


def at_two_sizes(kind: Kind, small: int, big: int) -> dict[str, Figure]:
    """Peak memory of an ingest and of a comparison where nothing changed, and what the latter costs."""
    told: dict[tuple[str, int], dict[str, Any]] = {}
    for reports in (small, big):
        with emptied(kind) as source, fresh(kind, source) as settings:
            town.fill(source, reports)
            told["ingest", reports] = _alone(settings)
            told["reconcile", reports] = _alone(settings, "--full")
            if told["reconcile", reports]["counts"]["unchanged"] != reports:
                raise SystemExit("the comparison found changes where there were none; nothing was measured")
    figures = {}
    for work in ("ingest", "reconcile"):
        at_small, at_big = (told[work, reports]["peak_mib"] for reports in (small, big))
        figures[f"{kind.name}_{work}_memory_ratio"] = Figure(at_big / at_small, "ratio")
        figures[f"{kind.name}_{work}_memory"] = Figure(at_big, "MiB")
        figures[f"{kind.name}_{work}_1m_seconds"] = Figure(told[work, big]["seconds"], "s")
    night = told["reconcile", big]
    text_bytes = sum(len(one[1].encode()) for one in town.rows(1000)) / 1000
    costs = {
        "rows_per_s": Figure(big / night["seconds"], "rows/s"),
        "source_queries": Figure(night["queries"], "queries"),
        "source_rows_read": Figure(night["rows"] / big, "of the table"),
        "source_mib_read": Figure(night["rows"] * text_bytes / 2**20, "MiB"),
        "source_longest_transaction": Figure(night["longest_transaction_s"], "s"),
    }
    return figures | {f"{kind.name}_reconcile_{name}": figure for name, figure in costs.items()}


@contextmanager
def emptied(kind: Kind) -> Iterator[str]:
    """The URL of a new database, which goes away afterwards."""
    url = kind.new()
    try:
        yield url
    finally:
        kind.remove(url)


@contextmanager
def fresh(kind: Kind, source: str) -> Iterator[Settings]:
    """Settings of a laudos that holds nothing yet and reads from `source`."""
    with emptied(kind) as url, tempfile.TemporaryDirectory(prefix="laudos-bench-") as folder:
        yield prepare(Path(folder), url, source)


def _alone(settings: Settings, *more: str) -> dict[str, Any]:
    """An ingest in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.ingest_alone",
        "--folder",
        str(settings.folder.parent),
        *more,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _figure(values: Sequence[float], unit: str, expected: str = "") -> Figure:
    return Figure(median(values), unit, min(values), max(values), len(values), expected)


if __name__ == "__main__":
    main()
