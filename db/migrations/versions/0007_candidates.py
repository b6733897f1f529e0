"""Challengers that met every rule and do not answer yet: what they would say, and who decides."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATES = "'shadow', 'waiting', 'accepted', 'refused', 'expired', 'overtaken'"


def upgrade() -> None:
    op.create_table(
        "candidate",
        sa.Column("id", ID, nullable=False),
        sa.Column("classifier", sa.String(length=64), nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("champion_id", ID),
        sa.Column("champion_epoch", sa.Integer()),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("plan_sha", sa.String(length=64), nullable=False),
        sa.Column("shadow_reports", sa.Integer(), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("decided_by", sa.String(length=64)),
        sa.Column("because", sa.Text()),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_candidate_state_known")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_candidate_model_id")),
        sa.ForeignKeyConstraint(["champion_id"], ["model.id"], name=op.f("fk_candidate_champion_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_candidate_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidate")),
    )
    op.create_index(op.f("ix_candidate_classifier"), "candidate", ["classifier"])
    op.create_table(
        "shadow_prediction",
        sa.Column("candidate_id", ID, nullable=False),
        sa.Column("report_version_id", ID, nullable=False),
        sa.Column("label", sa.String(length=128), nullable=False),
        sa.Column("probabilities", sa.JSON(), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "decision IN ('auto', 'review')", name=op.f("ck_shadow_prediction_decision_known")
        ),
        sa.ForeignKeyConstraint(
            ["candidate_id"], ["candidate.id"], name=op.f("fk_shadow_prediction_candidate_id")
        ),
        sa.ForeignKeyConstraint(
            ["report_version_id"],
            ["report_version.id"],
            name=op.f("fk_shadow_prediction_report_version_id"),
        ),
        sa.PrimaryKeyConstraint("candidate_id", "report_version_id", name=op.f("pk_shadow_prediction")),
    )


def downgrade() -> None:
    op.drop_table("shadow_prediction")
    op.drop_index(op.f("ix_candidate_classifier"), table_name="candidate")
    op.drop_table("candidate")
