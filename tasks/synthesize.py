"""Write a classifier's synthetic training reports into the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Engine

from db import ledger, synthetic
from db.engine import reading, writing
from db.errors import ConfigurationError
from db.synthetic import NewReport
from tasks.database import open_database
from tasks.ml.cleaning import CLEANING_REVISION, clean, raw_sha
from tasks.ml.splits import is_reserved
from tasks.ml.synthesis.exams import Row, generator
from tasks.ml.synthesis.reports import SyntheticReport, seed_of, synthesize
from tasks.progress import progress_bar
from tasks.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.synthetic_audit import require_sound

PAGE_REPORTS = 500  # a transaction: short enough that nobody waits long for SQLite's one writer


@dataclass(frozen=True)
class SetWritten:
    """One classifier's set. `retired` reports of earlier sets teach no more."""

    classifier: str
    seed: int
    rows: int
    counts: ledger.Counts
    retired: int


def synthetic_classifiers(settings: Settings) -> list[str]:
    """The classifiers that learn from synthetic reports."""
    return [name for name, asked in settings.classifiers.items() if "synthetic" in asked.training_labels]


@step("write synthetic reports", run_name="write synthetic reports for {classifier}", retries=2)
def write_synthetic_reports(run_id: int, classifier: str, seed: int | None = None) -> SetWritten:
    """Write the set and retire older ones; the same set again changes nothing.

    Without a seed: the current set's, or the next one where that set is older than `renew_after`.
    Raises ConfigurationError where the classifier cannot be taught so.
    """
    settings = Settings.load()
    asked = settings.classifier(classifier)
    engine = open_database(settings)
    return write_set(engine, run_id, classifier, asked, settings.seed, seed, datetime.now(UTC))


def write_set(
    engine: Engine,
    run_id: int,
    classifier: str,
    asked: ClassifierSettings,
    first_seed: int,
    seed: int | None,
    now: datetime,
) -> SetWritten:
    """Page by page, each with its share of the ledger; the older sets go last, when the new one stands.

    Raises LaudosError where the audit fails: then nothing is written, and the set before stays in force.
    """
    rows = _rows_to_write(classifier, asked)
    with writing(engine) as c:
        source_id = synthetic.source_of(c, classifier)
    if seed is None:
        seed = _seed_due(engine, source_id, asked, first_seed, now)
    recipe = asked.synthetic
    require_sound(engine, run_id, source_id, classifier, asked, seed, rows, now)
    reports = synthesize(
        recipe.exam,
        mode=recipe.mode,
        reports_per_row=recipe.reports_per_row,
        seed=seed,
        rows=rows,
        reserved_share=recipe.reserved_share,
    )
    counts, written = ledger.Counts(), set[str]()
    with progress_bar(f"writing reports for {classifier}") as progress:
        for page in _pages(reports, asked):
            with writing(engine) as c:
                share = synthetic.take_in(c, run_id, source_id, classifier, page, now)
                ledger.add_batch(c, run_id, source_id, share, now)
            counts += share
            written |= {report.external_id for report in page}
            progress(counts.read, len(rows) * recipe.reports_per_row)
    with writing(engine) as c:
        retired = synthetic.retire_others(c, source_id, written, now)
    return SetWritten(classifier, seed, len(rows), counts, retired)


def _rows_to_write(classifier: str, asked: ClassifierSettings) -> list[Row]:
    """All rows but the reserved ones. Raises ConfigurationError for what must never teach."""
    where = f"classifiers.{classifier}"
    if "synthetic" not in asked.training_labels:
        raise ConfigurationError(
            f'{where}: synthetic reports would teach nothing; add "synthetic" to its training_labels'
        )
    if asked.synthetic.mode == "seed":
        raise ConfigurationError(
            f'{where}.synthetic: mode "seed" writes the answer into the text and may not teach a model; '
            'use "findings" or "full"'
        )
    rows = generator(asked.synthetic.exam).rows()
    unknown = sorted({asked.label_values.get(row.label, row.label) for row in rows} - set(asked.labels))
    if unknown:
        raise ConfigurationError(
            f"{where}: the exam {asked.synthetic.exam!r} writes {', '.join(unknown)}, which is none of the "
            "labels; name it there or map it in label_values"
        )
    return [row for row in rows if not is_reserved(row.key, asked.synthetic.reserved_share)]


def _seed_due(
    engine: Engine, source_id: int, asked: ClassifierSettings, first_seed: int, now: datetime
) -> int:
    with reading(engine) as c:
        current = synthetic.current_set(c, source_id)
    if current is None:
        return first_seed
    seed = seed_of(current.example_id)
    return seed + 1 if now - current.written_at > asked.synthetic.renew_after else seed


def _pages(reports: Iterator[SyntheticReport], asked: ClassifierSettings) -> Iterator[list[NewReport]]:
    while page := list(islice(reports, PAGE_REPORTS)):
        yield [_cleaned(report, asked) for report in page]


def _cleaned(report: SyntheticReport, asked: ClassifierSettings) -> NewReport:
    # the same cleaning as a hospital's reports get: what teaches must look like what is asked
    cleaned = clean(report.text)
    return NewReport(
        external_id=report.external_id,
        patient_key=report.row_key,
        raw_sha=raw_sha(report.text),
        text=cleaned.text,
        repairs=cleaned.repairs,
        cleaning_revision=CLEANING_REVISION,
        label=asked.label_values.get(report.label, report.label),
    )
