"""What waits in quarantine for one classifier keeps no other from the report."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEY = ("source_id", "external_id", "raw_sha", "reason")
ABOUT = "whose label or model it is about; empty where it is about the row, or every classifier"

# whose run came upon it first; empty where that run was of several
FAILED = """
UPDATE quarantine SET classifier = COALESCE(
    (SELECT CASE WHEN count(DISTINCT model.classifier) = 1 THEN min(model.classifier) END
     FROM score_job JOIN model ON model.id = score_job.model_id
     WHERE score_job.run_id = quarantine.first_run_id), '')
WHERE reason = 'scoring_failed'
"""
# of rows that differ in their classifier alone the oldest stays, and one that waits goes on waiting
WAITS = """
UPDATE quarantine SET state = 'waiting', closed_at = NULL, closed_because = NULL
WHERE state <> 'waiting'
    AND EXISTS (SELECT 1 FROM quarantine AS other WHERE {same} AND other.state = 'waiting')
"""
TWICE = """
DELETE FROM quarantine
WHERE EXISTS (SELECT 1 FROM quarantine AS other WHERE {same} AND other.id < quarantine.id)
"""


def upgrade() -> None:
    with op.batch_alter_table("quarantine") as table:
        table.add_column(
            sa.Column(
                "classifier",
                sa.String(length=64),
                server_default=sa.text("''"),
                nullable=False,
                comment=ABOUT,
            )
        )
        table.drop_constraint(_named(*KEY), type_="unique")
        table.create_unique_constraint(_named(*KEY, "classifier"), [*KEY, "classifier"])
    op.execute(FAILED)
    # in Python: a value may hold what PostgreSQL's JSON cannot
    c = op.get_bind()
    found = c.execute(sa.text("SELECT id, payload FROM quarantine WHERE reason = 'unknown_label'"))
    told = [{"id": row.id, "classifier": json.loads(row.payload).get("classifier", "")} for row in found]
    if told:
        c.execute(sa.text("UPDATE quarantine SET classifier = :classifier WHERE id = :id"), told)


def downgrade() -> None:
    same = " AND ".join(f"other.{name} = quarantine.{name}" for name in KEY)
    op.execute(WAITS.format(same=same))
    op.execute(TWICE.format(same=same))
    with op.batch_alter_table("quarantine") as table:
        table.drop_constraint(_named(*KEY, "classifier"), type_="unique")
        table.create_unique_constraint(_named(*KEY), list(KEY))
        table.drop_column("classifier")


def _named(*columns: str) -> str:
    return op.f(f"uq_quarantine_{'_'.join(columns)}")
