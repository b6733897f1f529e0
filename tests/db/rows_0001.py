"""At least one row of every table as the first released schema had them. Frozen: never edit, only add files.

Values are as a driver takes them on either database; moments in UTC, as SQLAlchemy spells them on SQLite.
"""

from __future__ import annotations

from typing import Any

TEXT = 'Punção da mama:\n"células"; 100 %'
AT = "2026-03-02 05:00:00.123456"
LATER = "2026-03-02 06:00:00.000000"
SHA = "ab" * 32
FEATURE = bytes(range(256))
FIRST_SHA = "695bd00d4ab9700c02d6144c6e657080a11be71fedb710c8c1b8b53799e07472"
SECOND_SHA = "67064f5b851d3cd0d1610e18e7ade068456f941b1ded5102ef32667c559f1d69"

# in an order in which every row finds what it refers to
ROWS: dict[str, list[dict[str, Any]]] = {
    "run": [
        {
            "id": 1, "kind": "nightly", "state": "failed", "parent_id": None, "code_revision": "abc",
            "config_sha": SHA, "prefect_run_id": "11111111-2222-3333-4444-555555555555", "started_at": AT,
            "ended_at": LATER, "failure": "LaudosError: the disk is full", "read": 0, "new": 0, "updated": 0,
            "unchanged": 0, "quarantined": 0,
        },
        {
            "id": 2, "kind": "ingest", "state": "completed", "parent_id": 1, "code_revision": "abc",
            "config_sha": SHA, "prefect_run_id": None, "started_at": AT, "ended_at": LATER, "failure": None,
            "read": 4, "new": 2, "updated": 1, "unchanged": 0, "quarantined": 1,
        },
    ],
    "source": [
        {
            "id": 1, "name": "his", "kind": "database", "watermark": AT, "last_key": "L2", "overlap_s": 21600,
            "fence": 3, "reconciled_at": LATER,
        },
        {
            "id": 2, "name": "synthetic:paaf", "kind": "synthetic", "watermark": None, "last_key": None,
            "overlap_s": 0, "fence": 0, "reconciled_at": None,
        },
    ],
    "run_batch": [
        {
            "run_id": 2, "seq": 1, "source_id": 1, "at": AT, "read": 4, "new": 2, "updated": 1,
            "unchanged": 0, "quarantined": 1,
        }
    ],
    "report": [
        {
            "id": 1, "source_id": 1, "external_id": "L1", "patient_key": SHA, "current_version": 2,
            "created_at": AT, "deleted_at": None, "erased_at": None,
        },
        {
            "id": 2, "source_id": 1, "external_id": "L2", "patient_key": "cd" * 32, "current_version": 1,
            "created_at": AT, "deleted_at": LATER, "erased_at": LATER,
        },
    ],
    "report_version": [
        {
            "id": 1, "report_id": 1, "version": 1, "raw_sha": SHA, "text": TEXT,
            "cleaning_revision": 1, "repairs": '{"nul": 2}', "report_date": "2026-03-01",
            "source_updated_at": AT, "run_id": 2, "created_at": AT,
        },
        {
            "id": 2, "report_id": 1, "version": 2, "raw_sha": "cd" * 32, "text": "Emendado.",
            "cleaning_revision": 1, "repairs": "{}", "report_date": None, "source_updated_at": None,
            "run_id": 2, "created_at": AT,
        },
        {
            "id": 3, "report_id": 2, "version": 1, "raw_sha": "00" * 32, "text": None, "cleaning_revision": 1,
            "repairs": "{}", "report_date": None, "source_updated_at": None, "run_id": 2, "created_at": AT,
        },
    ],
    "quarantine": [
        {
            "id": 1, "source_id": 1, "external_id": "", "raw_sha": SHA, "reason": "no_id",
            "payload": b'{"texto": "Esfrega\\u00e7o"}', "state": "dismissed", "seen": 7, "first_run_id": 2,
            "first_seen_at": AT, "last_seen_at": LATER, "closed_at": LATER, "closed_because": "a test row",
        }
    ],
    "label": [
        {
            "report_version_id": 2, "classifier": "paaf", "origin": origin, "actor": actor,
            "value": "benigno", "at": AT,
        }
        for origin, actor in (("source", "his"), ("feedback", "ana"), ("synthetic", "writer"))
    ],
    "snapshot": [
        {
            "id": 1, "classifier": "paaf", "sha": SHA, "recipe": '{"labels": ["benigno", "maligno"]}',
            "reports": 1, "run_id": 1, "created_at": AT,
        }
    ],
    "snapshot_item": [
        {
            "snapshot_id": 1, "report_version_id": 2, "label": "benigno", "origin": "source",
            "split": "holdout",
        }
    ],
    "model": [
        {
            "id": number, "classifier": "paaf", "path": f"paaf/run{number}-full", "manifest_sha": SHA,
            "encoder_sha": "ef" * 32, "snapshot_id": 1, "trained": trained,
            "config": '{"critical": "maligno", "labels": ["benigno", "maligno"]}', "config_sha": SHA,
            "state": state, "run_id": 1, "created_at": AT,
        }
        for number, trained, state in ((1, "full", "ready"), (2, "head", "retired"), (3, "head", "tainted"))
    ],
    "champion": [{"classifier": "paaf", "model_id": 1, "epoch": 1, "since": AT}],
    "promotion": [
        {
            "id": 1, "classifier": "paaf", "decision": "promoted", "model_id": 1, "previous_model_id": None,
            "epoch": 1, "reasons": '[{"rule": "enough patients", "passed": true, "found": "61"}]',
            "plan_sha": SHA, "actor": "retrain", "run_id": 1, "at": AT,
        },
        {
            "id": 2, "classifier": "paaf", "decision": "refused", "model_id": 2, "previous_model_id": 1,
            "epoch": None, "reasons": "[]", "plan_sha": SHA, "actor": "retrain", "run_id": 1, "at": LATER,
        },
    ],
    "score_job": [
        {
            "id": 1, "classifier": "paaf", "model_id": 1, "state": "done", "reports": 1, "run_id": 1,
            "created_at": AT, "ended_at": LATER,
        },
        {
            "id": 2, "classifier": "paaf", "model_id": 2, "state": "stopped", "reports": 1, "run_id": 1,
            "created_at": AT, "ended_at": LATER,
        },
    ],
    "score_chunk": [
        {
            "job_id": 1, "seq": 1, "first_version_id": 1, "last_version_id": 2, "reports": 1, "state": "done",
            "fence": 2, "leased_by": None, "leased_until": None, "done_at": LATER, "encoded": 1, "written": 1,
        },
        {
            "job_id": 2, "seq": 1, "first_version_id": 1, "last_version_id": 2, "reports": 1, "state": "open",
            "fence": 1, "leased_by": "host:1", "leased_until": AT, "done_at": None, "encoded": None,
            "written": None,
        },
    ],
    "prediction": [
        {
            "model_id": 1, "report_version_id": 2, "label": "benigno",
            "probabilities": '{"benigno": 0.875, "maligno": 0.125}', "decision": "auto", "tokens_seen": 12,
            "tokens_total": 12, "backend": "torch-fp32", "job_id": 1, "chunk_seq": 1, "fence": 2, "at": LATER,
        }
    ],
    "feature": [
        {
            "encoder_sha": "ef" * 32, "report_version_id": 2, "vector": FEATURE, "tokens_seen": 12,
            "tokens_total": 12, "created_at": AT,
        }
    ],
    "metric": [
        {
            "id": 1, "run_id": 1, "model_id": 1, "subject": "model", "population": "holdout",
            "slice": "label=maligno", "name": "auroc_report", "value": 0.975, "low": 0.9, "high": 0.99,
            "n": 61, "at": AT,
        },
        {
            "id": 2, "run_id": 1, "model_id": None, "subject": "tfidf_word", "population": "holdout",
            "slice": "all", "name": "ece", "value": None, "low": None, "high": None, "n": 0, "at": AT,
        },
    ],
    "audit": [
        {
            "id": 1, "at": AT, "actor": "retrain", "action": "trained", "subject": "model 1",
            "detail": '{"run": 2}', "previous_sha": "0" * 64, "sha": FIRST_SHA,
        },
        {
            "id": 2, "at": AT, "actor": "retrain", "action": "promoted", "subject": "model 1",
            "detail": '{"run": 2, "epoch": 1}', "previous_sha": FIRST_SHA, "sha": SECOND_SHA,
        },
    ],
}  # fmt: skip
