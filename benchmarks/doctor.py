"""What `laudos doctor` costs on a large archive, check by check; and what a rollback takes.

    python -m benchmarks.doctor [--reports 1000000] [--repetitions 3]

On each database the archive is filled twice, a tenth of the size first: a check whose time grows more
than tenfold is not linear. Beside it, in the same run, what it costs to look at every row of the same
tables once (`scan`): nothing that reads them all can be faster. A rollback goes back and forth between
two models of a BERT-base's 12 layers, whose files are all read before they may answer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, func, select

from benchmarks.archive import CLASSIFIER, LABELS, publish_model, write_archive
from benchmarks.predictions import scratch
from benchmarks.record import Figure, tell, write
from db.engine import open_engine, reading
from db.errors import ConfigurationError
from db.tables import feature, metadata, prediction, report_version
from tasks.model_folders import models_folder, point_at_champion
from tasks.models.models import roll_back
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import checkup

COMMAND = "python -m benchmarks.doctor"
ROLLBACKS = 6

# written down before the first run
EXPECTED = {
    "sqlite_seconds": "30 to 60 for a million reports: quick_check alone reads every page",
    "postgres_seconds": "15 to 40: the same joins, and no check of every page",
    "sqlite_over_scan": "5 to 15: about a dozen passes over the larger tables",
    "postgres_over_scan": "5 to 15",
    "sqlite_growth_10x": "10 to 13: sorting grows a little faster than the rows",
    "postgres_growth_10x": "8 to 13",
    "rollback_seconds": ".4 to 1.5: 340 MB are read and hashed, the rows are nothing",
}


def settings_in(folder: Path, url: str) -> Settings:
    """A laudos.toml for the scratch database."""
    path = folder / "laudos.toml"
    labels = ", ".join(f'"{label}"' for label in LABELS)
    path.write_text(
        f'database = "{url}"\nfolder = "{folder}"\n[monitoring]\nfree_space_gib = 0\n'
        f'[classifiers.{CLASSIFIER}]\nlabels = [{labels}]\ncritical = "maligno"\n',
        encoding="utf-8",
    )
    os.environ["LAUDOS_CONFIG"] = str(path)
    return Settings.load()


def scan(engine: Engine) -> float:
    """Seconds to look at every row of every table once, the wide columns included."""
    wide = {report_version.c.text, feature.c.vector, prediction.c.probabilities}
    began = time.perf_counter()
    with reading(engine) as c:
        for table in metadata.sorted_tables:
            column = next((one for one in table.columns if one in wide), next(iter(table.columns)))
            # asked of the value, or an index would answer
            c.execute(select(func.count(column), func.count().filter(column.is_(None))).select_from(table))
    return time.perf_counter() - began


def examined(engine: Engine, settings: Settings) -> dict[str, float]:
    """Seconds by check. Ends the benchmark where a promise is broken: it would measure something else."""
    seconds: dict[str, float] = {}
    with reading(engine) as c:
        began = time.perf_counter()
        for finding in checkup(c, settings):
            if not finding.ok:
                raise SystemExit(f"the archive is not sound: {finding.name}: {finding.found}")
            seconds[finding.name.split(" ")[0]] = time.perf_counter() - began
            began = time.perf_counter()
    return seconds


def measure(kind: str, reports: int, repetitions: int, folder: Path) -> dict[str, Figure]:
    """One database: its checks at a tenth of the size and at full size, and a rollback."""
    totals: list[float] = []
    figures: dict[str, Figure] = {}
    for size in (reports // 10, reports):
        home = folder / f"{kind}-{size}"
        home.mkdir()
        with scratch(kind) as url:
            engine, settings = open_engine(url), settings_in(home, url)
            root = models_folder(settings) / CLASSIFIER
            base = {"layers": 12, "hidden_size": 768} if size == reports else {"layers": 1, "hidden_size": 32}
            folders = {name: publish_model(root, name, **base) for name in ("older", "newer")}
            made = write_archive(engine, size, folders)
            point_at_champion(engine, settings, CLASSIFIER)
            rounds = [(examined(engine, settings), scan(engine)) for _ in range(repetitions)]
            totals.append(statistics.median(_of_rows(checks) for checks, _ in rounds))
            if size == reports:
                figures |= _checks(kind, rounds)
                figures[f"{kind}_rollback_seconds"] = rollbacks(engine, settings, made)
            engine.dispose()
    figures[f"{kind}_growth_10x"] = Figure(
        totals[1] / totals[0], "ratio", expected=EXPECTED[f"{kind}_growth_10x"]
    )
    return figures


def _of_rows(checks: dict[str, float]) -> float:
    """Seconds that depend on the archive; reading the champion's files depends on the model's size."""
    return sum(checks.values()) - checks["champion_as_published"]


def _checks(kind: str, rounds: Sequence[tuple[dict[str, float], float]]) -> dict[str, Figure]:
    totals = [sum(checks.values()) for checks, _ in rounds]
    figures = {
        f"{kind}_seconds": _over_rounds(totals, "s", EXPECTED[f"{kind}_seconds"]),
        f"{kind}_scan_seconds": _over_rounds([scanned for _, scanned in rounds], "s"),
        f"{kind}_over_scan": _over_rounds(
            [total / scanned for total, (_, scanned) in zip(totals, rounds, strict=True)],
            "ratio",
            EXPECTED[f"{kind}_over_scan"],
        ),
    }
    names = sorted(rounds[0][0], key=lambda name: -statistics.median(checks[name] for checks, _ in rounds))
    for name in names:
        figures[f"{kind}_seconds_{name}"] = _over_rounds([checks[name] for checks, _ in rounds], "s")
    print(f"{kind}: the slowest check is {names[0]}")
    return figures


def rollbacks(engine: Engine, settings: Settings, made: Sequence[int]) -> Figure:
    """Back and forth, from the decision to the file that names the champion."""
    taken = []
    for number in range(ROLLBACKS):
        to = made[number % 2]
        began = time.perf_counter()
        roll_back(engine, settings, CLASSIFIER, to, "benchmark", datetime.now(UTC))
        taken.append(time.perf_counter() - began)
    return _over_rounds(taken, "s", EXPECTED["rollback_seconds"])


def _over_rounds(values: Sequence[float], unit: str, expected: str = "") -> Figure:
    return Figure(statistics.median(values), unit, min(values), max(values), len(values), expected)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--reports", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=3)
    asked = parser.parse_args(words)
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="laudos-doctor-") as folder:
        for kind in ("sqlite", "postgres"):
            try:
                figures |= measure(kind, asked.reports, asked.repetitions, Path(folder))
            except ConfigurationError as missing:
                print(f"left out: {missing}")
    tell(figures)
    print(f"wrote {write('doctor', COMMAND, figures)}")


if __name__ == "__main__":
    main()
