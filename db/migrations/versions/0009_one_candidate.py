"""One challenger of a classifier waits or scores along at a time: the database sees to it."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PENDING = sa.text("state IN ('shadow', 'waiting')")


def upgrade() -> None:
    candidate = sa.table(
        "candidate",
        *(sa.column(name, sa.String()) for name in ("classifier", "state", "decided_by", "because")),
        sa.column("id", sa.BigInteger()),
        sa.column("decided_at", sa.DateTime(timezone=True)),
    )
    first = sa.select(sa.func.min(candidate.c.id)).where(PENDING).group_by(candidate.c.classifier)
    # the lock let none in; whoever wrote one by hand is told what became of it
    op.execute(
        candidate.update()
        .where(PENDING, candidate.c.id.not_in(first))
        .values(
            state="overtaken",
            decided_at=datetime.now(UTC),
            decided_by="laudos db upgrade",
            because="another of its classifier waited before it",
        )
    )
    op.create_index(
        "uq_candidate_pending",
        "candidate",
        ["classifier"],
        unique=True,
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )


def downgrade() -> None:
    op.drop_index("uq_candidate_pending", table_name="candidate")
