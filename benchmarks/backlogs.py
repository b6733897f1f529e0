"""A backlog of any size in laudos' own tables, written by the database itself; and models for it."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import JSON, Connection, Engine, String, Text, cast, insert, literal, select, text

from db import backlog, models, scoring
from db.engine import writing
from db.scoring import Job
from db.tables import report, report_version, run, snapshot, source

CLASSIFIER = "achado"
LABELS = ("benigno", "maligno")


def fill(engine: Engine, reports: int) -> None:
    """So many current reports of one hospital, a patient each; a few words of text."""
    now = datetime.now(UTC)
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < reports))
    number = cast(numbers.c.n, Text)
    with writing(engine) as c:
        run_id = _run(c, "ingest", now)
        source_id = c.execute(
            insert(source).values(name="his", kind="database").returning(source.c.id)
        ).scalar_one()
        c.execute(
            insert(report).from_select(
                ["source_id", "external_id", "patient_key", "current_version", "created_at"],
                select(literal(source_id), number, cast(number, String), literal(1), _moment(now)),
            )
        )
        told = literal("Laudo ") + cast(report.c.id, Text) + literal(": sem alterações.")
        c.execute(
            insert(report_version).from_select(
                [
                    *("report_id", "version", "raw_sha", "text", "cleaning_revision", "repairs", "run_id"),
                    "created_at",
                ],
                select(
                    *(report.c.id, literal(1), cast(report.c.id, String), told, literal(1)),
                    *(literal({}, JSON), literal(run_id), _moment(now)),
                ).order_by(report.c.id),
            )
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        c.execute(text("ANALYZE"))


def new_model(engine: Engine, encoder_sha: str = "e" * 64) -> int:
    """A champion without a folder, that has predicted nothing yet."""
    now = datetime.now(UTC)
    with writing(engine) as c:
        run_id = _run(c, "retrain", now)
        sha = f"{run_id:064d}"
        frozen = {"classifier": CLASSIFIER, "sha": sha, "recipe": {}, "reports": 0, "run_id": run_id}
        snapshot_id = c.execute(
            insert(snapshot).values(**frozen, created_at=now).returning(snapshot.c.id)
        ).scalar_one()
        model_id = models.add(
            c, classifier=CLASSIFIER, path=sha, manifest_sha=sha, encoder_sha=encoder_sha,
            snapshot_id=snapshot_id, trained="full", config={}, config_sha="0", run_id=run_id, now=now,
        )  # fmt: skip
        before = models.champion_of(c, CLASSIFIER)
        models.crown(c, CLASSIFIER, model_id, expected_epoch=before.epoch if before else None, now=now)
    return model_id


def cut(engine: Engine, model_id: int, largest: int, smallest: int | None = None) -> Job:
    """All that waits for the model, in chunks of so many reports, falling to `smallest` (None: all alike)."""
    now = datetime.now(UTC)
    with writing(engine) as c:
        job_id = backlog.cut(
            c, CLASSIFIER, model_id, sources=None, chunk_reports_min=smallest or largest,
            chunk_reports_max=largest, run_id=_run(c, "classify", now), now=now,
        )  # fmt: skip
        job = None if job_id is None else scoring.get(c, job_id)
    if job is None:
        raise SystemExit("nothing waits for the model")
    return job


def _run(c: Connection, kind: str, now: datetime) -> int:
    row = {"kind": kind, "code_revision": "benchmark", "config_sha": "0", "started_at": now}
    return int(c.execute(insert(run).values(row).returning(run.c.id)).scalar_one())


def _moment(now: datetime) -> object:
    return literal(now, report.c.created_at.type)
