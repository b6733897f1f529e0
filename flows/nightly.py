"""Everything in order, unattended: ingest, synthesize, retrain, classify, monitor."""

from __future__ import annotations

from dataclasses import dataclass

from flows.classify import ClassifySummary, classify
from flows.ingest import IngestSummary, ingest
from flows.monitor import MonitorSummary, monitor
from flows.retrain import RetrainSummary, retrain
from flows.synthesize import SynthesizeSummary, synthesize
from tasks.database import open_database
from tasks.errors import LaudosError
from tasks.ledger import recorded_run
from tasks.nightly import Attempts, synthetic_sets_due
from tasks.plan import How
from tasks.settings import Settings
from tasks.step import flow


@dataclass(frozen=True)
class NightlySummary:
    """What the night came to. `skipped`: parts that lacked their input, and which command gives it."""

    run_id: int
    ingested: list[IngestSummary]
    synthesized: list[SynthesizeSummary]
    retrained: list[RetrainSummary]
    classified: list[ClassifySummary]
    monitored: MonitorSummary | None
    skipped: list[str]


@flow("nightly", run_name="nightly {day}")
def nightly(full: bool = False) -> NightlySummary:
    """Run the whole night; `full` trains the whole network instead of refreshing the head.

    A source or classifier that fails does not stop the others. Raises LaudosError at the end, when
    everything else is done, naming what failed; Busy at once where another night is under way.
    """
    settings = Settings.load()
    with recorded_run(open_database(settings), settings, "nightly", exclusive="nightly") as run:
        attempt = Attempts()
        ingested = [
            s for name in settings.sources for s in attempt(f"ingest {name}", ingest, name, full=True)
        ]
        synthesized = [
            s
            for name in synthetic_sets_due(settings)
            for s in attempt(f"synthesize {name}", synthesize, name)
        ]
        how: How = "full" if full else "auto"
        retrained = [
            s
            for name in settings.classifiers
            for many in attempt(f"retrain {name}", retrain, name, how)
            for s in many
        ]
        classified = [
            s
            for name in settings.classifiers
            for many in attempt(f"classify {name}", classify, name)
            for s in many
        ]
        monitored = attempt("monitor", monitor)
        if attempt.failed:
            raise LaudosError(f"nightly run {run.id} did all it could, but: {'; '.join(attempt.failed)}")
    return NightlySummary(
        run.id, ingested, synthesized, retrained, classified, next(iter(monitored), None), attempt.skipped
    )
