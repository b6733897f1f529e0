"""Of which groups a patient is, where a source tells: for slices and the fairness gate."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "patient_group",
        sa.Column("report_version_id", ID, nullable=False),
        sa.Column("sex", sa.String(length=8)),
        sa.Column("age_band", sa.String(length=16)),
        sa.Column("race", sa.String(length=64)),
        sa.Column("institution", sa.String(length=64)),
        sa.CheckConstraint("sex IN ('female', 'male', 'other')", name=op.f("ck_patient_group_sex_known")),
        sa.ForeignKeyConstraint(
            ["report_version_id"],
            ["report_version.id"],
            name=op.f("fk_patient_group_report_version_id"),
        ),
        sa.PrimaryKeyConstraint("report_version_id", name=op.f("pk_patient_group")),
    )


def downgrade() -> None:
    op.drop_table("patient_group")
