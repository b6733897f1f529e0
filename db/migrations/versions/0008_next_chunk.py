"""The next chunk of a job is found, not sorted for: a claim costs the same of ten chunks and of 100,000."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_score_chunk_next", "score_chunk", ["job_id", "state", "deaths", "seq"])
    op.drop_index("ix_score_chunk_job_id_state", table_name="score_chunk")


def downgrade() -> None:
    op.create_index("ix_score_chunk_job_id_state", "score_chunk", ["job_id", "state"])
    op.drop_index("ix_score_chunk_next", table_name="score_chunk")
