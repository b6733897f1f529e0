"""Where in a report the evidence for an answer stands: characters and scores, never text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column("model_id", ID, nullable=False),
        sa.Column("report_version_id", ID, nullable=False),
        sa.Column("begins", sa.Integer(), nullable=False),
        sa.Column("ends", sa.Integer(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("begins >= 0 AND ends > begins", name=op.f("ck_evidence_stands_somewhere")),
        sa.ForeignKeyConstraint(
            ["model_id", "report_version_id"],
            ["prediction.model_id", "prediction.report_version_id"],
            name=op.f("fk_evidence_model_id_report_version_id"),
        ),
        sa.PrimaryKeyConstraint("model_id", "report_version_id", "begins", name=op.f("pk_evidence")),
    )


def downgrade() -> None:
    op.drop_table("evidence")
