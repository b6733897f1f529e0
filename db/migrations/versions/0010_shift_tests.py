"""Whether a job's reports, taken together, are like those that calibrated the model: one test a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATES = "'due', 'alike', 'shifted', 'untested'"


def upgrade() -> None:
    op.create_table(
        "shift_test",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("state", sa.String(length=16), server_default="due", nullable=False),
        sa.Column("because", sa.String(length=32)),
        sa.Column("calibration_patients", sa.Integer()),
        sa.Column("patients", sa.Integer()),
        sa.Column("earlier_patients", sa.Integer()),
        sa.Column("seen_in", sa.String(length=16)),
        sa.Column("auroc", sa.Float()),
        sa.Column("p_value", sa.Float()),
        sa.Column("level", sa.Float()),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("leased_by", sa.String(length=128)),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.Column("at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(f"state IN ({STATES})", name=op.f("ck_shift_test_state_known")),
        sa.CheckConstraint("tries >= 0", name=op.f("ck_shift_test_tries_not_negative")),
        sa.ForeignKeyConstraint(["job_id"], ["score_job.id"], name=op.f("fk_shift_test_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_shift_test")),
    )


def downgrade() -> None:
    op.drop_table("shift_test")
