"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only where the key's type is exactly INTEGER
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column(
            "subject", sa.String(length=128), nullable=False, comment="what it was done to, such as model 3"
        ),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column(
            "previous_sha",
            sa.String(length=64),
            nullable=False,
            comment="the row before: altering one breaks the chain",
        ),
        sa.Column("sha", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sa.UniqueConstraint("sha", name=op.f("uq_audit_sha")),
        comment="who did what, hash-chained",
    )
    op.create_table(
        "run",
        sa.Column("id", ID, nullable=False),
        sa.Column(
            "kind",
            sa.String(length=32),
            nullable=False,
            comment="ingest, synthesize, retrain, classify, monitor, nightly",
        ),
        sa.Column("state", sa.String(length=16), server_default="running", nullable=False),
        sa.Column("parent_id", ID, nullable=True, comment="the nightly run this one belongs to"),
        sa.Column(
            "code_revision", sa.String(length=64), nullable=False, comment="git commit or package version"
        ),
        sa.Column(
            "config_sha",
            sa.String(length=64),
            nullable=False,
            comment="sha256 of the settings, secrets left out",
        ),
        sa.Column(
            "prefect_run_id", sa.String(length=36), nullable=True, comment="where to look in the Prefect UI"
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "failure",
            sa.Text(),
            nullable=True,
            comment="type and place of what ended the run; never report text",
        ),
        sa.Column(
            "read", sa.Integer(), server_default="0", nullable=False, comment="rows read from the source"
        ),
        sa.Column(
            "new", sa.Integer(), server_default="0", nullable=False, comment="reports seen for the first time"
        ),
        sa.Column(
            "updated",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="reports whose raw content changed: a new version each",
        ),
        sa.Column(
            "unchanged",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="rows already known with the same content",
        ),
        sa.Column(
            "quarantined",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="rows that could not be taken in; see quarantine",
        ),
        sa.CheckConstraint(
            "state IN ('running', 'completed', 'failed', 'crashed')", name=op.f("ck_run_state_known")
        ),
        sa.CheckConstraint("read = new + updated + unchanged + quarantined", name=op.f("ck_run_balances")),
        sa.ForeignKeyConstraint(["parent_id"], ["run.id"], name=op.f("fk_run_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        comment="one row a run of any kind",
    )
    op.create_table(
        "source",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False, comment="its name in laudos.toml"),
        sa.Column(
            "kind",
            sa.String(length=16),
            nullable=False,
            comment="database (a hospital's) or synthetic (written here)",
        ),
        sa.Column(
            "watermark",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="the latest updated_at taken in; never in the future",
        ),
        sa.Column("last_key", sa.Text(), nullable=True, comment="the id that goes with the watermark"),
        sa.Column(
            "overlap_s",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="seconds re-read behind the watermark",
        ),
        sa.Column(
            "fence",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="counts ingests; a stale one cannot commit",
        ),
        sa.Column(
            "reconciled_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="last full key + hash comparison with the source",
        ),
        sa.CheckConstraint("kind IN ('database', 'synthetic')", name=op.f("ck_source_kind_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
        comment="where reports come from, and how far we have read",
    )
    op.create_table(
        "quarantine",
        sa.Column("id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False, comment="empty where the row had no id"),
        sa.Column("raw_sha", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False, comment="a fixed word, such as no_letters"),
        sa.Column(
            "payload", sa.LargeBinary(), nullable=False, comment="the row as read (JSON), kept for a retry"
        ),
        sa.Column("state", sa.String(length=16), server_default="waiting", nullable=False),
        sa.Column("seen", sa.Integer(), server_default="1", nullable=False, comment="how often it was read"),
        sa.Column("first_run_id", ID, nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "closed_because", sa.Text(), nullable=True, comment="why it was dismissed or how it was resolved"
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'resolved', 'dismissed')", name=op.f("ck_quarantine_state_known")
        ),
        sa.ForeignKeyConstraint(["first_run_id"], ["run.id"], name=op.f("fk_quarantine_first_run_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_quarantine_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint(
            "source_id",
            "external_id",
            "raw_sha",
            "reason",
            name=op.f("uq_quarantine_source_id_external_id_raw_sha_reason"),
        ),
        comment="what could not be taken in, and why; nothing is dropped",
    )
    op.create_table(
        "report",
        sa.Column("id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False, comment="the report's id at its source, as text"),
        sa.Column(
            "patient_key",
            sa.String(length=64),
            nullable=False,
            comment="sha256 of the patient's id: groups, never names",
        ),
        sa.Column("current_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="gone at the source since"
        ),
        sa.Column(
            "erased_at", sa.DateTime(timezone=True), nullable=True, comment="text removed on request since"
        ),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_report_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("source_id", "external_id", name=op.f("uq_report_source_id_external_id")),
        comment="one row a report, whatever its versions",
    )
    op.create_index("ix_report_patient_key", "report", ["patient_key"], unique=False)
    op.create_table(
        "run_batch",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "read", sa.Integer(), server_default="0", nullable=False, comment="rows read from the source"
        ),
        sa.Column(
            "new", sa.Integer(), server_default="0", nullable=False, comment="reports seen for the first time"
        ),
        sa.Column(
            "updated",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="reports whose raw content changed: a new version each",
        ),
        sa.Column(
            "unchanged",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="rows already known with the same content",
        ),
        sa.Column(
            "quarantined",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="rows that could not be taken in; see quarantine",
        ),
        sa.CheckConstraint(
            "read = new + updated + unchanged + quarantined", name=op.f("ck_run_batch_balances")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_run_batch_run_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_run_batch_source_id")),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_batch")),
        comment="one row a committed batch of an ingest: its share of the run's ledger",
    )
    op.create_table(
        "snapshot",
        sa.Column("id", ID, nullable=False),
        sa.Column("classifier", sa.String(length=64), nullable=False),
        sa.Column(
            "sha",
            sa.String(length=64),
            nullable=False,
            comment="sha256 over items: contents, labels and splits",
        ),
        sa.Column(
            "recipe",
            sa.JSON(),
            nullable=False,
            comment="how it was made: origins, seeds, counts by label and split",
        ),
        sa.Column("reports", sa.Integer(), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_snapshot_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("classifier", "sha", name=op.f("uq_snapshot_classifier_sha")),
        comment="a frozen training set",
    )
    op.create_table(
        "model",
        sa.Column("id", ID, nullable=False),
        sa.Column("classifier", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, comment="its folder, relative to the model folder"),
        sa.Column(
            "manifest_sha", sa.String(length=64), nullable=False, comment="sha256 of its MANIFEST.json"
        ),
        sa.Column(
            "encoder_sha",
            sa.String(length=64),
            nullable=False,
            comment="body weights, tokenizer and windowing: what a feature depends on",
        ),
        sa.Column("snapshot_id", ID, nullable=False),
        sa.Column(
            "trained",
            sa.String(length=16),
            nullable=False,
            comment="full (the whole network) or head (the last layer)",
        ),
        sa.Column("config", sa.JSON(), nullable=False, comment="the training configuration"),
        sa.Column("config_sha", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="ready", nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("state IN ('ready', 'retired', 'tainted')", name=op.f("ck_model_state_known")),
        sa.CheckConstraint("trained IN ('full', 'head')", name=op.f("ck_model_trained_known")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_model_run_id")),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshot.id"], name=op.f("fk_model_snapshot_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        comment="one row a trained model",
    )
    op.create_table(
        "report_version",
        sa.Column("id", ID, nullable=False),
        sa.Column("report_id", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="1, 2, 3...: no gaps"),
        sa.Column(
            "raw_sha",
            sa.String(length=64),
            nullable=False,
            comment="sha256 of the text as it stood at the source",
        ),
        sa.Column("text", sa.Text(), nullable=True, comment="cleaned text; null once erased"),
        sa.Column("cleaning_revision", sa.Integer(), nullable=False, comment="which rules cleaned it"),
        sa.Column("repairs", sa.JSON(), nullable=False, comment="what was repaired and how often, by name"),
        sa.Column("report_date", sa.Date(), nullable=True, comment="the date the report bears"),
        sa.Column(
            "source_updated_at", sa.DateTime(timezone=True), nullable=True, comment="updated_at at the source"
        ),
        sa.Column("run_id", ID, nullable=False, comment="the run that took it in"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_version_report_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_report_version_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_version")),
        sa.UniqueConstraint("report_id", "version", name=op.f("uq_report_version_report_id_version")),
        comment="one row a content a report has had",
    )
    op.create_table(
        "champion",
        sa.Column("classifier", sa.String(length=64), nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column(
            "epoch", sa.Integer(), nullable=False, comment="compare-and-set: rises by one with every change"
        ),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_champion_model_id")),
        sa.PrimaryKeyConstraint("classifier", name=op.f("pk_champion")),
        comment="which model answers for a classifier now",
    )
    op.create_table(
        "feature",
        sa.Column("encoder_sha", sa.String(length=64), nullable=False),
        sa.Column("report_version_id", ID, nullable=False),
        sa.Column(
            "vector", sa.LargeBinary(), nullable=False, comment="what the head reads: float32, little-endian"
        ),
        sa.Column("tokens_seen", sa.Integer(), nullable=False),
        sa.Column("tokens_total", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_version_id"], ["report_version.id"], name=op.f("fk_feature_report_version_id")
        ),
        sa.PrimaryKeyConstraint("encoder_sha", "report_version_id", name=op.f("pk_feature")),
        comment="a report version as an encoder sees it, so that a new head costs no encoding",
    )
    op.create_index("ix_feature_report_version_id", "feature", ["report_version_id"], unique=False)
    op.create_table(
        "label",
        sa.Column("report_version_id", ID, nullable=False),
        sa.Column("classifier", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False, comment="source, feedback or synthetic"),
        sa.Column(
            "actor",
            sa.String(length=64),
            nullable=False,
            comment="who said so: a source's name, a person's login",
        ),
        sa.Column("value", sa.String(length=128), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "origin IN ('source', 'feedback', 'synthetic')", name=op.f("ck_label_origin_known")
        ),
        sa.ForeignKeyConstraint(
            ["report_version_id"], ["report_version.id"], name=op.f("fk_label_report_version_id")
        ),
        sa.PrimaryKeyConstraint("report_version_id", "classifier", "origin", "actor", name=op.f("pk_label")),
        comment="what a report version was said to be, by whom",
    )
    op.create_index("ix_label_classifier_origin", "label", ["classifier", "origin"], unique=False)
    op.create_table(
        "metric",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("model_id", ID, nullable=True),
        sa.Column(
            "subject", sa.String(length=64), nullable=False, comment="model, or a baseline such as tfidf_word"
        ),
        sa.Column(
            "population",
            sa.String(length=64),
            nullable=False,
            comment="whose reports: holdout, source, backlog...",
        ),
        sa.Column(
            "slice",
            sa.String(length=320),
            server_default="all",
            nullable=False,
            comment="all, or a part such as label=maligno",
        ),
        sa.Column("name", sa.String(length=64), nullable=False, comment="auroc_report, sensitivity, ece..."),
        sa.Column("value", sa.Float(), nullable=True, comment="null where it cannot be computed"),
        sa.Column(
            "low", sa.Float(), nullable=True, comment="lower end of the 95 % bootstrap interval over patients"
        ),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column(
            "n", sa.Integer(), nullable=False, comment="reports (or patients, for *_patient) it stands on"
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_metric_model_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_metric_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric")),
        comment="every figure, with its interval",
    )
    op.create_index("ix_metric_model_id", "metric", ["model_id"], unique=False)
    op.create_index("ix_metric_run_id", "metric", ["run_id"], unique=False)
    op.create_table(
        "promotion",
        sa.Column("id", ID, nullable=False),
        sa.Column("classifier", sa.String(length=64), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("model_id", ID, nullable=False, comment="the challenger, or what was rolled back to"),
        sa.Column("previous_model_id", ID, nullable=True, comment="the champion at that moment"),
        sa.Column(
            "epoch", sa.Integer(), nullable=True, comment="the champion's new epoch; null for a refusal"
        ),
        sa.Column(
            "reasons",
            sa.JSON(),
            nullable=False,
            comment="each rule: name, passed, what was found, what was asked",
        ),
        sa.Column(
            "plan_sha", sa.String(length=64), nullable=False, comment="sha256 of the promotion rules in force"
        ),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("run_id", ID, nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "decision IN ('promoted', 'refused', 'rolled_back')", name=op.f("ck_promotion_decision_known")
        ),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_promotion_model_id")),
        sa.ForeignKeyConstraint(
            ["previous_model_id"], ["model.id"], name=op.f("fk_promotion_previous_model_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_promotion_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
        sa.UniqueConstraint("classifier", "epoch", name=op.f("uq_promotion_classifier_epoch")),
        comment="the whole chain of how each champion got there, refusals included",
    )
    op.create_table(
        "score_job",
        sa.Column("id", ID, nullable=False),
        sa.Column("classifier", sa.String(length=64), nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("state", sa.String(length=16), server_default="open", nullable=False),
        sa.Column("reports", sa.Integer(), nullable=False, comment="backlog when the job was cut"),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('open', 'done', 'stopped')", name=op.f("ck_score_job_state_known")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_score_job_model_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_score_job_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_score_job")),
        comment="one backlog to score with one model",
    )
    op.create_table(
        "snapshot_item",
        sa.Column("snapshot_id", ID, nullable=False),
        sa.Column("report_version_id", ID, nullable=False),
        sa.Column("label", sa.String(length=128), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False, comment="by patient, by hash, for ever"),
        sa.CheckConstraint(
            "split IN ('train', 'calibration', 'holdout')", name=op.f("ck_snapshot_item_split_known")
        ),
        sa.ForeignKeyConstraint(
            ["report_version_id"], ["report_version.id"], name=op.f("fk_snapshot_item_report_version_id")
        ),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshot.id"], name=op.f("fk_snapshot_item_snapshot_id")),
        sa.PrimaryKeyConstraint("snapshot_id", "report_version_id", name=op.f("pk_snapshot_item")),
        comment="which report versions a snapshot holds, with which label, in which split",
    )
    op.create_table(
        "score_chunk",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("first_version_id", ID, nullable=False),
        sa.Column("last_version_id", ID, nullable=False),
        sa.Column("reports", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="open", nullable=False),
        sa.Column(
            "fence",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="rises with every claim; only the last may write",
        ),
        sa.Column("leased_by", sa.String(length=128), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("encoded", sa.Integer(), nullable=True, comment="reports that went through the encoder"),
        sa.Column("written", sa.Integer(), nullable=True, comment="predictions written"),
        sa.CheckConstraint("state IN ('open', 'leased', 'done')", name=op.f("ck_score_chunk_state_known")),
        sa.ForeignKeyConstraint(["job_id"], ["score_job.id"], name=op.f("fk_score_chunk_job_id")),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_score_chunk")),
        comment="a range of report versions that one worker scores at a time",
    )
    op.create_index("ix_score_chunk_job_id_state", "score_chunk", ["job_id", "state"], unique=False)
    op.create_table(
        "prediction",
        sa.Column("model_id", ID, nullable=False),
        sa.Column("report_version_id", ID, nullable=False),
        sa.Column("label", sa.String(length=128), nullable=False, comment="the most probable label"),
        sa.Column("probabilities", sa.JSON(), nullable=False, comment="label -> calibrated probability"),
        sa.Column(
            "decision", sa.String(length=16), nullable=False, comment="auto, or review: a person must look"
        ),
        sa.Column("tokens_seen", sa.Integer(), nullable=False),
        sa.Column(
            "tokens_total",
            sa.Integer(),
            nullable=False,
            comment="equal to tokens_seen unless the report was cut",
        ),
        sa.Column(
            "backend", sa.String(length=32), nullable=False, comment="what computed it, such as torch-fp32"
        ),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("chunk_seq", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False, comment="the lease it was written under"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("decision IN ('auto', 'review')", name=op.f("ck_prediction_decision_known")),
        sa.ForeignKeyConstraint(
            ["job_id", "chunk_seq"],
            ["score_chunk.job_id", "score_chunk.seq"],
            name=op.f("fk_prediction_job_id_chunk_seq"),
        ),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_prediction_model_id")),
        sa.ForeignKeyConstraint(
            ["report_version_id"], ["report_version.id"], name=op.f("fk_prediction_report_version_id")
        ),
        sa.PrimaryKeyConstraint("model_id", "report_version_id", name=op.f("pk_prediction")),
        comment="exactly one row a (report version, model)",
    )
    op.create_index("ix_prediction_report_version_id", "prediction", ["report_version_id"], unique=False)


def downgrade() -> None:
    for table in (
        "prediction",
        "score_chunk",
        "snapshot_item",
        "score_job",
        "promotion",
        "metric",
        "label",
        "feature",
        "champion",
        "report_version",
        "model",
        "snapshot",
        "run_batch",
        "report",
        "quarantine",
        "source",
        "run",
        "audit",
    ):
        op.drop_table(table)
