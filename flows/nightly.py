"""Everything in order, unattended: ingest, synthesize, retrain, classify, tidy up, monitor."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from flows.classify import ClassifySummary, classify
from flows.ingest import IngestSummary, ingest
from flows.monitor import MonitorSummary, monitor
from flows.retrain import RetrainSummary, retrain
from flows.synthesize import SynthesizeSummary, synthesize
from tasks.database import open_database
from tasks.errors import DoneInPart
from tasks.ledger import recorded_run
from tasks.night.nightly import Attempts, answered_for, require_something_to_do
from tasks.settings.settings import Settings
from tasks.step import flow
from tasks.synthesis.synthesize import synthetic_classifiers
from tasks.training.plan import How
from tasks.upkeep.erase import finish_left
from tasks.upkeep.retention import Removed, tidy_up


@dataclass(frozen=True)
class NightlySummary:
    """What the night came to. `skipped`: parts that lacked their input, and which command gives it."""

    run_id: int
    ingested: list[IngestSummary]
    synthesized: list[SynthesizeSummary]
    retrained: list[RetrainSummary]
    classified: list[ClassifySummary]
    removed: Removed | None
    monitored: MonitorSummary | None
    skipped: list[str]


@flow("nightly", run_name="nightly {day}")
def nightly(full: bool = False) -> NightlySummary:
    """Run the whole night; `full` trains the whole network instead of refreshing the head.

    A source or classifier that fails does not stop the others. Raises DoneInPart at the end, when
    everything else is done, naming what failed; Busy at once where another night is under way,
    ConfigurationError where nothing is configured.
    """
    settings = Settings.load()
    require_something_to_do(settings)
    with recorded_run(open_database(settings), settings, "nightly", exclusive="nightly") as run:
        attempt = Attempts()
        how: How = "full" if full else "auto"
        ingested = attempt.each("ingest", ingest, settings.sources, full=True)
        # the same set again changes nothing; one that is too old, unfinished or of other settings is renewed
        synthesized = attempt.each("synthesize", synthesize, synthetic_classifiers(settings))
        retrained = attempt.each("retrain", retrain, settings.classifiers, how)
        answered = attempt.each("classify", answered_for, settings.classifiers, settings)
        classified = attempt.each("classify", classify, answered)
        attempt("finish erasures", finish_left, settings)
        removed = attempt("tidy up", tidy_up, run.id)
        monitored = attempt("monitor", monitor)
        if attempt.failed:
            raise DoneInPart(f"nightly run {run.id} did all it could, but: {'; '.join(attempt.failed)}")
    return NightlySummary(
        run_id=run.id,
        ingested=ingested,
        synthesized=synthesized,
        retrained=list(chain.from_iterable(retrained)),
        classified=list(chain.from_iterable(classified)),
        removed=removed[0] if removed else None,
        monitored=monitored[0] if monitored else None,
        skipped=attempt.skipped,
    )
