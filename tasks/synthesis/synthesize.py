"""Write a classifier's synthetic training reports into the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Engine

from db import ledger, synthetic, synthetic_sets
from db.engine import reading, writing
from db.errors import ConfigurationError
from db.synthetic import NewReport
from db.synthetic_sets import RecordedSet, SetRecipe
from tasks.database import open_database
from tasks.ml.faultpoints import reach
from tasks.ml.reading.cleaning import CLEANING_REVISION, clean, raw_sha
from tasks.ml.splits import is_reserved
from tasks.ml.synthesis.exams import Row, generator
from tasks.ml.synthesis.renewal import Candidate, Recipe, grammar_sha, hardest, renewed
from tasks.ml.synthesis.report_ids import institution_of
from tasks.ml.synthesis.reports import SyntheticReport
from tasks.progress import progress_bar
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.synthesis.audit import require_sound
from tasks.synthesis.renewal import hard_reports

# of the set in force: what its reader finds hard
Hard = Callable[[RecordedSet], Sequence[Candidate]]

PAGE_REPORTS = 500  # a transaction: short enough that nobody waits long for SQLite's one writer


@dataclass(frozen=True)
class SetWritten:
    """One classifier's set. `kept` hard reports of earlier sets stay in it; `retired` ones teach no more."""

    classifier: str
    seed: int
    rows: int
    counts: ledger.Counts
    kept: int
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
    now = datetime.now(UTC)

    def hard(standing: RecordedSet) -> list[Candidate]:
        return hard_reports(engine, settings, classifier, standing, now)

    return write_set(engine, run_id, classifier, asked, settings.seed, seed, now, hard)


def nothing_is_hard(standing: RecordedSet) -> Sequence[Candidate]:
    return ()


def write_set(
    engine: Engine,
    run_id: int,
    classifier: str,
    asked: ClassifierSettings,
    first_seed: int,
    seed: int | None,
    now: datetime,
    hard: Hard = nothing_is_hard,
) -> SetWritten:
    """Page by page, each with its share of the ledger, and none of it in force; then one transaction swaps
    the sets. Cut off anywhere before that ends, the set before stays in force, and the next call goes on.

    Raises LaudosError where the audit fails: then nothing is written.
    """
    rows = _rows_to_write(classifier, asked)
    with writing(engine) as c:
        source_id = synthetic.source_of(c, classifier)
    with reading(engine) as c:
        standing = synthetic_sets.standing(c, classifier)
    if seed is None:
        seed = _seed_due(standing, asked, first_seed, now)
    recipe = _recipe_of(asked)
    words = grammar_sha(recipe.exam, recipe.reserved_share)
    planned = SetRecipe(source_id=source_id, seed=seed, grammar_sha=words, **vars(recipe))
    kept = _kept(engine, planned, standing, asked, rows, hard)
    sound = require_sound(engine, run_id, planned, classifier, asked, rows, kept, now)
    reports = renewed(recipe, seed, rows, sound.kept)
    counts, written, amended = ledger.Counts(), set[int](), list[NewReport]()
    with progress_bar(f"writing reports for {classifier}") as progress:
        for page in _pages(reports, asked):
            with writing(engine) as c:
                ahead = synthetic.write_ahead(c, run_id, source_id, classifier, page, now)
                ledger.add_batch(c, run_id, source_id, ahead.counts, now)
            reach("synthesize.page.committed")
            counts += ahead.counts
            written |= ahead.report_ids
            amended += ahead.amended
            progress(len(written), len(rows) * recipe.reports_per_row)
    with writing(engine) as c:
        if amended:
            share = synthetic.amend(c, run_id, source_id, classifier, amended, now)
            ledger.add_batch(c, run_id, source_id, share, now)
            counts += share
        reach("synthesize.set.amended")
        retired = synthetic.swap(c, source_id, written, now)
        if standing is None or standing.sha != sound.sha:  # else its age goes on counting
            synthetic_sets.came_into_force(c, source_id, sound.sha, now)
        reach("synthesize.set.swapped")
    return SetWritten(classifier, seed, len(rows), counts, len(sound.kept), retired)


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


def _seed_due(standing: RecordedSet | None, asked: ClassifierSettings, first_seed: int, now: datetime) -> int:
    """That of the set in force, or the next where it is too old."""
    if standing is None or standing.written_at is None:
        return first_seed
    too_old = now - standing.written_at > asked.synthetic.renew_after
    return standing.seed + 1 if too_old else standing.seed


def _kept(
    engine: Engine,
    planned: SetRecipe,
    standing: RecordedSet | None,
    asked: ClassifierSettings,
    rows: Sequence[Row],
    hard: Hard,
) -> dict[str, int]:
    """What this set kept when it was written before; else what is hard in the set that it replaces.

    Nothing where exam, mode, words or reserved rows are others than they were: then the ids of the set in
    force would stand for other texts, or for rows that must not teach.
    """
    with reading(engine) as c:
        before = synthetic_sets.kept_of(c, planned)
    if before is not None:
        return before
    same = ("exam", "mode", "grammar_sha", "reserved_share")
    if standing is None or any(getattr(standing, name) != getattr(planned, name) for name in same):
        return {}
    share = asked.synthetic.kept_share
    return hardest(hard(standing), _recipe_of(asked), planned.seed, rows, share) if share else {}


def _recipe_of(asked: ClassifierSettings) -> Recipe:
    one = asked.synthetic
    return Recipe(one.exam, one.mode, one.reports_per_row, one.reserved_share)


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
        institution=institution_of(asked.synthetic.exam, report.external_id),
    )
