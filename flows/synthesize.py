"""Labelled training reports, written from a table of measurements."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.database import open_database
from tasks.errors import NothingToWorkOn
from tasks.ledger import recorded_run
from tasks.settings.settings import Settings
from tasks.step import Name, flow
from tasks.synthesis.synthesize import SetWritten, synthetic_classifiers, write_synthetic_reports


@dataclass(frozen=True)
class SynthesizeSummary:
    """One set a classifier: how many of its reports are new, and how many older ones it replaces."""

    run_id: int
    sets: tuple[SetWritten, ...]


@flow("synthesize", run_name="synthesize {classifier} {day}")
def synthesize(classifier: Name | None = None, seed: int | None = None) -> SynthesizeSummary:
    """Write the synthetic reports of one classifier, or of all that learn from them.

    The same seed writes the same set, which changes nothing; without one, a set older than
    `renew_after` is replaced. Raises NothingToWorkOn where no classifier learns from synthetic reports.
    """
    settings = Settings.load()
    names = synthetic_classifiers(settings) if classifier is None else [classifier]
    if not names:
        raise NothingToWorkOn(
            "no classifier learns from synthetic reports; "
            'add "synthetic" to its training_labels in laudos.toml'
        )
    with recorded_run(open_database(settings), settings, "synthesize", exclusive="synthesize") as run:
        sets = tuple(write_synthetic_reports(run.id, name, seed) for name in names)
    return SynthesizeSummary(run.id, sets)
