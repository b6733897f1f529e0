"""Take in new and amended reports, one source after the other; one that fails stops no other."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.database import open_database
from tasks.errors import DoneInPart, LaudosError, NothingToWorkOn
from tasks.intake.ingest import counts_of_run, ingest_source
from tasks.ledger import Counts, recorded_run
from tasks.settings.settings import Settings
from tasks.step import Name, flow


@dataclass(frozen=True)
class IngestSummary:
    """What came in, in all and by source. `failed`: source -> why; what it gave before that is taken in."""

    run_id: int
    counts: Counts
    sources: dict[str, Counts] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@flow("ingest", run_name="ingest {source} {day}")
def ingest(source: Name | None = None, full: bool = False) -> IngestSummary:
    """Read every source, or one; `full` compares all of their rows and finds what was deleted.

    Raises where no source could be read; Busy where another ingest is under way.
    """
    settings = Settings.load()
    names = list(settings.sources) if source is None else [source]
    if not names:
        raise NothingToWorkOn(
            "no source is configured; name your database in laudos.toml: take the # off the lines of "
            '[sources.his] ("laudos init" writes a file that has them)'
        )
    for name in names:
        settings.source(name)
    engine = open_database(settings)
    came: dict[str, Counts] = {}
    failures: dict[str, LaudosError] = {}
    try:
        with recorded_run(engine, settings, "ingest", exclusive="ingest") as run:
            for name in names:
                try:
                    came[name] = ingest_source(name, run.id, full)
                except LaudosError as failure:
                    failures[name] = failure
            if failures and len(names) == 1:
                raise failures[names[0]]
            if failures:
                # the ledger says what happened, whatever becomes of the others' share
                raise DoneInPart("; ".join(map(str, failures.values())))
    except DoneInPart:
        if len(failures) == len(names):
            raise failures[names[0]] from None
    told = {name: str(failure) for name, failure in failures.items()}
    return IngestSummary(run.id, counts_of_run(engine, run.id), came, told)
