"""Scoring a classifier's backlog: cut what is new into a job, work on it, export what was said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from db import backlog, predictions, scoring
from db.engine import reading, writing
from db.errors import LaudosError
from db.predictions import Exported
from tasks.classifiers import the_champion, the_classifier
from tasks.database import open_database
from tasks.ml.faultpoints import reach
from tasks.promotion.candidacy import lapse
from tasks.scoring.claims import await_others
from tasks.scoring.cluster import score_on_cluster
from tasks.scoring.scorer import ScoreSummary
from tasks.scoring.worker import score_job
from tasks.settings.settings import Settings
from tasks.step import step
from tasks.table_files import whole_file


@step("cut backlog", run_name="cut backlog of {classifier}", retries=2)
def cut_backlog(run_id: int, classifier: str) -> int | None:
    """The job to work on: one that is unfinished, else all that waits; None if nothing does.

    A job that a person stopped is answered, too, and gives no work. Jobs of former champions end.
    Raises NothingToWorkOn without a champion.
    """
    settings = Settings.load()
    asked = settings.classifier(classifier)
    engine = open_database(settings)
    lapse(engine, settings, datetime.now(UTC))  # a champion found damaged since may have a successor
    with writing(engine) as c:
        backlog.hold_champion(c, classifier)
        champion = the_champion(c, classifier)
        now = scoring.lease_clock(c)  # by which vectors are told that are read for this job
        scoring.stop_former(c, classifier, champion.model.id, now)
        unfinished = scoring.unfinished_job(c, classifier, champion.model.id)
        if unfinished is not None:
            return unfinished.id
        job_id = backlog.cut(
            c,
            classifier,
            champion.model.id,
            sources=asked.sources,
            chunk_reports_min=settings.scoring.chunk_reports_min,
            chunk_reports_max=settings.scoring.chunk_reports_max,
            run_id=run_id,
            now=now,
        )
    reach("score.job.cut")
    return job_id


@step("score", run_name="score job {job_id}", retries=2)
def score(job_id: int, dask: str | None = None) -> ScoreSummary:
    """Work on a job until nothing of it is left, or it was stopped. Safe to repeat, and by several at once.

    What another worker holds is waited for: what came in since waits for the end of the job.
    `dask` (default: `scoring.dask`) is the scheduler of a cluster that does the work.
    """
    settings = Settings.load()
    engine = open_database(settings)
    with reading(engine) as c:
        job = scoring.get(c, job_id)
    if job is None:
        raise LaudosError(f'there is no scoring job {job_id}; run "laudos classify"')
    address = dask or settings.scoring.dask

    def scored_now() -> ScoreSummary:
        if address is not None:
            return score_on_cluster(engine, settings, job, address)
        return score_job(engine, settings, job)

    scored = scored_now()
    while scored.elsewhere:
        left = await_others(engine, job)
        scored = replace(scored, elsewhere=0, paused=0) + (scored_now() if left.elsewhere else left)
    return scored


@dataclass(frozen=True)
class Export:
    """Where predictions were written, whose, and how many."""

    file: Path
    classifier: str
    model_id: int
    rows: int


def export_predictions(settings: Settings, classifier: str | None, out: Path) -> Export:
    """The champion's predictions of current reports as .parquet or .csv: ids and figures, no text.

    Columns: source, external_id, version, report_date, label, decision, one `p_<label>` a label,
    tokens_seen, tokens_total, model_id, at, review_because, content_in_quarantine (the answer may be about a
    text that is out of date). The file appears whole or not at all.
    """
    name = the_classifier(settings, classifier)
    with reading(open_database(settings)) as c:
        champion = the_champion(c, name)
        rows = 0
        schema = _schema(champion.model.config["labels"])
        with whole_file(out, schema) as file:
            for page in predictions.export(c, champion.model.id):
                file.write_table(pa.Table.from_pylist([_flat(one) for one in page], schema))
                rows += len(page)
    return Export(out, name, champion.model.id, rows)


def _schema(labels: list[str]) -> pa.Schema:
    return pa.schema(
        [
            ("source", pa.string()),
            ("external_id", pa.string()),
            ("version", pa.int32()),
            ("report_date", pa.date32()),
            ("label", pa.string()),
            ("decision", pa.string()),
            *((f"p_{label}", pa.float64()) for label in labels),
            ("tokens_seen", pa.int32()),
            ("tokens_total", pa.int32()),
            ("model_id", pa.int64()),
            ("at", pa.timestamp("us", tz="UTC")),
            ("review_because", pa.string()),
            ("content_in_quarantine", pa.bool_()),
        ]
    )


def _flat(one: Exported) -> dict[str, Any]:
    return {**vars(one), **{f"p_{label}": value for label, value in one.probabilities.items()}}
