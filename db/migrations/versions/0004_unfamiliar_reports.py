"""Reports unlike those that taught go to a person: a sketch beside each vector, a reason beside a review."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UNSURE = "unsure (the labels are not told apart) or unfamiliar (unlike the training reports); null "
SKETCH = "hashes of some of its pairs of words: whether it is like the training reports; null where "


def upgrade() -> None:
    op.add_column(
        "feature",
        sa.Column(
            "sketch",
            sa.LargeBinary(),
            comment=SKETCH + "it was computed before they were kept, or its text was emptied since",
        ),
    )
    op.add_column(
        "prediction",
        sa.Column(
            "review_because",
            sa.String(length=16),
            comment=UNSURE + "for auto, and for what was written before it was told",
        ),
    )


def downgrade() -> None:
    op.drop_column("prediction", "review_because")
    op.drop_column("feature", "sketch")
