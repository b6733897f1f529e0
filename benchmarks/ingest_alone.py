"""One ingest in this process, told as JSON: its seconds and peak memory, and what it cost the source.

python -m benchmarks.ingest_alone --folder F [--full]     (started by benchmarks.ingest)
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, make_url

from db import ledger, schema
from db.engine import open_engine, writing
from db.ledger import Counts
from db.source_pages import Values
from db.source_reader import SourceReader
from tasks.intake.ingest import ingest_from
from tasks.settings.settings import Settings, heeding_only

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SOURCE = "his"


@dataclass
class Told:
    """What one ingest took; the queries, rows and transactions are the source's."""

    seconds: float
    counts: dict[str, int]
    peak_mib: float
    queries: int = 0
    rows: int = 0
    longest_transaction_s: float = 0.0


def prepare(folder: Path, database: str, source: str) -> Settings:
    """laudos.toml in the folder, and the tables."""
    (folder / "laudos.toml").write_text(
        f'database = "{database}"\nfolder = "{folder}/data"\ntimezone = "UTC"\n'
        f'[sources.{SOURCE}]\nurl = "{source}"\ntable = "laudos"\nid = "id"\ntext = "texto"\n'
        'updated_at = "atualizado_em"\npatient = "paciente"\ndate = "data_laudo"\n'
        'labels = { malignidade = "resultado" }\n'
        '[classifiers.malignidade]\nlabels = ["B", "M"]\ncritical = "M"\n',
        encoding="utf-8",
    )
    schema.upgrade(database)
    return settings_in(folder)


def settings_in(folder: Path) -> Settings:
    with heeding_only(folder / "laudos.toml"):
        return Settings.load()


def ingest(settings: Settings, *, full: bool = False) -> tuple[float, Counts]:
    """Seconds from the first query at the source to the last commit, and the ledger's counts."""
    engine = open_engine(settings.database)
    with writing(engine) as c:
        run_id = ledger.begin_run(
            c,
            "ingest",
            code_revision="benchmark",
            config_sha="",
            prefect_run_id=None,
            parent_id=None,
            now=NOW,
        )
    began = time.perf_counter()
    counts = ingest_from(engine, settings, SOURCE, run_id, full, NOW)
    took = time.perf_counter() - began
    engine.dispose()
    return took, counts


@contextmanager
def source_watched(told: Told, database: str) -> Iterator[None]:
    """Count what is asked of every database but ours."""
    own = make_url(database)
    began: dict[int, float] = {}
    fetch = SourceReader._fetch

    def foreign(c: Connection) -> bool:
        return c.engine.url != own

    def begin(c: Connection) -> None:
        if foreign(c):
            began[id(c)] = time.perf_counter()

    def end(c: Connection) -> None:
        if id(c) in began:
            told.longest_transaction_s = max(
                told.longest_transaction_s, time.perf_counter() - began.pop(id(c))
            )

    def asked(c: Connection, *_: Any) -> None:
        told.queries += foreign(c)

    def counted(self: SourceReader, *arguments: Any) -> tuple[list[Values], bool]:
        found, whole = fetch(self, *arguments)
        told.rows += len(found)
        return found, whole

    watched: dict[str, Any] = {
        "begin": begin, "commit": end, "rollback": end, "after_cursor_execute": asked,
    }  # fmt: skip
    for name, listener in watched.items():
        event.listen(Engine, name, listener)
    SourceReader._fetch = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        SourceReader._fetch = fetch  # type: ignore[method-assign]
        for name, listener in watched.items():
            event.remove(Engine, name, listener)


def peak_mib() -> float:
    """Of this process since its start; getrusage would count the parent it was forked from."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("this system tells no peak memory in /proc/self/status")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--full", action="store_true")
    asked = parser.parse_args()
    settings = settings_in(asked.folder)
    told = Told(0.0, {}, 0.0)
    with source_watched(told, settings.database):
        told.seconds, counts = ingest(settings, full=asked.full)
    told.counts = asdict(counts)
    told.peak_mib = peak_mib()
    print(json.dumps(asdict(told)))


if __name__ == "__main__":
    main()
