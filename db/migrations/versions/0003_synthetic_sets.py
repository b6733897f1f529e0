"""Synthetic sets are audited before they teach, and what was found is kept; whose words each report is in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "synthetic_set",
        sa.Column("id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("sha", sa.String(length=64), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("exam", sa.String(length=64), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("reports_per_row", sa.Integer(), nullable=False),
        sa.Column("reserved_share", sa.Float(), nullable=False),
        sa.Column("grammar_sha", sa.String(length=64), nullable=False),
        sa.Column("kept", sa.JSON(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("reports", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("audit", sa.JSON(), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("state IN ('accepted', 'refused')", name=op.f("ck_synthetic_set_state_known")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_synthetic_set_run_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_synthetic_set_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_synthetic_set")),
        sa.UniqueConstraint("source_id", "sha", name=op.f("uq_synthetic_set_source_id_sha")),
    )
    op.add_column(
        "report_version",
        sa.Column(
            "institution",
            sa.String(length=64),
            comment="whose words a synthetic report is in; null for a hospital's",
        ),
    )


def downgrade() -> None:
    op.drop_column("report_version", "institution")
    op.drop_table("synthetic_set")
