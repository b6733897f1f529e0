"""A hospital's archive as years of nights leave it, written by the database itself, for the doctor.

A tenth of the reports was amended once; every current version is predicted by the champion in 200 chunks
and has its vector; three training sets of a tenth of the reports; one report in a hundred is in quarantine.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, text

from db import audit, models
from db.engine import writing
from db.tables import run, run_batch, snapshot, source
from tasks.ml.network.artifact import LaudosJson, publish
from tasks.ml.network.conformal import Thresholds
from tasks.ml.network.encoder import EncoderSpec, encoder_sha, make_scratch

CLASSIFIER = "achado"
LABELS = ("benigno", "maligno")
CHUNKS = 200
BATCH_REPORTS = 1000
VECTOR_BYTES = 512  # of the scratch encoder that laudos makes by itself
TEXT_BYTES = 1700

_NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :reports)"
# texts that no database can squeeze together
_TEXT = {
    "sqlite": f"hex(randomblob({TEXT_BYTES // 2}))",
    "postgresql": "(SELECT string_agg(md5(n || '/' || part), '') "
    f"FROM generate_series(1, {TEXT_BYTES // 32}) part)",
}
_VECTOR = {
    "sqlite": f"randomblob({VECTOR_BYTES})",
    "postgresql": f"decode(repeat(md5(CAST(v.id AS text)), {VECTOR_BYTES // 16}), 'hex')",
}


def publish_model(root: Path, name: str, *, layers: int, hidden_size: int) -> tuple[str, str]:
    """A real model folder of that size; sha of its manifest, and of its encoder."""
    spec = EncoderSpec(
        window_tokens=256, hidden_size=hidden_size, layers=layers, attention_heads=2, vocabulary=4000
    )
    network = make_scratch(["laudo de mama"] * 10, list(LABELS), spec, seed=0)
    sha = encoder_sha(*network, 256, 64)
    facts = LaudosJson(
        classifier=CLASSIFIER,
        labels=LABELS,
        critical="maligno",
        window_tokens=256,
        stride_tokens=64,
        encoder_sha=sha,
        snapshot_sha="0" * 64,
        seed=0,
        created_at=datetime.now(UTC),
        thresholds=Thresholds((0.5, 0.5), (100, 100), (0.05, 0.05)),
    )
    return publish(root, name, *network, None, facts).manifest_sha, sha


def write_archive(engine: Engine, reports: int, folders: dict[str, tuple[str, str]]) -> list[int]:
    """Fill empty tables; the models' ids, the last of which answers.

    `folders`: name -> sha of its manifest, and of its encoder.
    """
    now = datetime.now(UTC) - timedelta(days=1)
    with writing(engine) as c:
        source_id = c.execute(
            insert(source).values(name="his", kind="database").returning(source.c.id)
        ).scalar_one()
        first, second = _reports(c, source_id, reports, now)
        _ledger(c, source_id, first, new=reports, updated=0, now=now)
        _ledger(c, source_id, second, new=0, updated=reports // 10, now=now)
        made = [_model(c, name, *shas, now) for name, shas in folders.items()]
        _training_sets(c, reports, now)
        _answers(c, made[-1], reports, now)
        _vectors(c, next(reversed(folders.values()))[1], now)
        _quarantine(c, source_id, first, now)
        for number in range(1000):
            audit.record(c, actor="nightly", action="looked", subject=f"night {number}", detail={}, now=now)
    if engine.dialect.name == "postgresql":
        # what autovacuum does of itself; SQLite has nothing of the kind
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            c.execute(text("VACUUM ANALYZE"))
    return made


def _moment(c: Connection, now: datetime) -> object:
    return now if c.dialect.name == "postgresql" else now.strftime("%Y-%m-%d %H:%M:%S.%f")


def _run(c: Connection, kind: str, now: datetime, **counts: int) -> int:
    row = {"kind": kind, "code_revision": "benchmark", "config_sha": "0", "started_at": now, "ended_at": now}
    added = insert(run).values(**row, **counts, state="completed").returning(run.c.id)
    return int(c.execute(added).scalar_one())


def _reports(c: Connection, source_id: int, reports: int, now: datetime) -> tuple[int, int]:
    """Every report with its versions; the runs that took in the first ones and the amended ones."""
    first = _run(c, "ingest", now, read=reports, new=reports)
    second = _run(c, "ingest", now, read=reports // 10, updated=reports // 10)
    given = {"reports": reports, "source": source_id, "at": _moment(c, now)}
    c.execute(
        text(
            "INSERT INTO report (source_id, external_id, patient_key, current_version, created_at) "
            f"{_NUMBERS} SELECT :source, CAST(n AS varchar), 'patient ' || CAST(n / 2 AS varchar), "
            "CASE WHEN n % 10 = 0 THEN 2 ELSE 1 END, :at FROM numbers"
        ),
        given,
    )
    told = _TEXT[c.dialect.name]
    for version, run_id, which in ((1, first, "1 = 1"), (2, second, "id % 10 = 0")):
        c.execute(
            text(
                "INSERT INTO report_version (report_id, version, raw_sha, text, cleaning_revision, repairs, "
                f"run_id, created_at) SELECT n, :version, CAST(n AS varchar), {told}, 1, '{{}}', :run, :at "
                f"FROM (SELECT id AS n FROM report WHERE {which} ORDER BY id) AS those"
            ),
            {"version": version, "run": run_id, "at": _moment(c, now)},
        )
    return first, second


def _ledger(c: Connection, source_id: int, run_id: int, *, new: int, updated: int, now: datetime) -> None:
    batches = []
    for seq, start in enumerate(range(0, new + updated, BATCH_REPORTS), 1):
        rows = min(BATCH_REPORTS, new + updated - start)
        counts = {"read": rows, "new": rows if new else 0, "updated": 0 if new else rows}
        batches.append({"run_id": run_id, "seq": seq, "source_id": source_id, "at": now, **counts})
    if batches:
        c.execute(insert(run_batch), batches)


def _model(c: Connection, name: str, manifest_sha: str, encoder: str, now: datetime) -> int:
    run_id = _run(c, "retrain", now)
    frozen = {"classifier": CLASSIFIER, "sha": name, "recipe": {}, "reports": 0, "run_id": run_id}
    snapshot_id = c.execute(
        insert(snapshot).values(**frozen, created_at=now).returning(snapshot.c.id)
    ).scalar_one()
    model_id = models.add(
        c, classifier=CLASSIFIER, path=f"{CLASSIFIER}/{name}", manifest_sha=manifest_sha, encoder_sha=encoder,
        snapshot_id=snapshot_id, trained="full", config={}, config_sha="0", run_id=run_id, now=now,
    )  # fmt: skip
    before = models.champion_of(c, CLASSIFIER)
    epoch = models.crown(c, CLASSIFIER, model_id, expected_epoch=before.epoch if before else None, now=now)
    models.add_promotion(
        c, classifier=CLASSIFIER, decision="promoted", model_id=model_id, epoch=epoch, reasons=[],
        previous_model_id=before.model.id if before else None, plan_sha="0", actor="benchmark",
        run_id=run_id, now=now,
    )  # fmt: skip
    return model_id


def _training_sets(c: Connection, reports: int, now: datetime) -> None:
    for number in range(3):
        frozen = {"classifier": CLASSIFIER, "sha": f"set {number}", "recipe": {}, "reports": reports // 10}
        added = insert(snapshot).values(**frozen, run_id=1, created_at=now).returning(snapshot.c.id)
        snapshot_id = c.execute(added).scalar_one()
        # by the patient, who has two reports
        c.execute(
            text(
                "INSERT INTO snapshot_item (snapshot_id, report_version_id, label, origin, split) "
                "SELECT :snapshot, v.id, 'maligno', 'source', "
                "CASE WHEN v.report_id / 2 % 5 = 0 THEN 'holdout' ELSE 'train' END "
                "FROM report_version v WHERE v.version = 1 AND v.report_id <= :those"
            ),
            {"snapshot": snapshot_id, "those": reports // 10},
        )


def _answers(c: Connection, model_id: int, reports: int, now: datetime) -> None:
    """One done job over all current versions, in chunks of version ids as `cut` makes them."""
    run_id = _run(c, "classify", now)
    given = {"model": model_id, "run": run_id, "at": _moment(c, now), "reports": reports}
    job = (
        "INSERT INTO score_job (classifier, model_id, state, reports, run_id, created_at, ended_at) "
        f"VALUES ('{CLASSIFIER}', :model, 'done', :reports, :run, :at, :at) RETURNING id"
    )
    given["job"] = c.execute(text(job), given).scalar_one()
    current = "FROM report_version v JOIN report r ON r.id = v.report_id AND r.current_version = v.version"
    c.execute(
        text(
            "INSERT INTO score_chunk (job_id, seq, first_version_id, last_version_id, reports, state, fence, "
            "done_at, encoded, written) SELECT :job, seq, min(id), max(id), count(*), 'done', 1, :at, 0, "
            f"count(*) FROM (SELECT v.id, ntile({CHUNKS}) OVER (ORDER BY v.id) AS seq {current}) AS tiles "
            "GROUP BY seq"
        ),
        given,
    )
    c.execute(
        text(
            "INSERT INTO prediction (model_id, report_version_id, label, probabilities, decision, "
            "tokens_seen, tokens_total, backend, job_id, chunk_seq, fence, at) "
            "SELECT :model, v.id, 'maligno', "
            "'{\"benigno\": 0.25, \"maligno\": 0.75}', 'auto', 300, 300, 'torch-fp32', :job, c.seq, 1, :at "
            f"{current} JOIN score_chunk c ON c.job_id = :job "
            "AND v.id BETWEEN c.first_version_id AND c.last_version_id"
        ),
        given,
    )


def _vectors(c: Connection, encoder: str, now: datetime) -> None:
    c.execute(
        text(
            "INSERT INTO feature (encoder_sha, report_version_id, vector, tokens_seen, tokens_total, "
            f"created_at) SELECT :encoder, v.id, {_VECTOR[c.dialect.name]}, 300, 300, :at "
            "FROM report_version v JOIN report r ON r.id = v.report_id AND r.current_version = v.version"
        ),
        {"encoder": encoder, "at": _moment(c, now)},
    )


def _quarantine(c: Connection, source_id: int, run_id: int, now: datetime) -> None:
    binary = "blob" if c.dialect.name == "sqlite" else "bytea"
    c.execute(
        text(
            "INSERT INTO quarantine (source_id, external_id, raw_sha, reason, payload, first_run_id, "
            "first_seen_at, last_seen_at) SELECT :source, external_id, '0', 'no_letters', "
            f"CAST('{{}}' AS {binary}), :run, :at, :at FROM report WHERE id % 100 = 0"
        ),
        {"source": source_id, "run": run_id, "at": _moment(c, now)},
    )
