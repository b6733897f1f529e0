"""A person can end a classifier: one more decision, after which no model answers for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

NAME = "ck_promotion_decision_known"
BEFORE = "decision IN ('promoted', 'refused', 'rolled_back')"
WITH_ENDED = "decision IN ('promoted', 'refused', 'rolled_back', 'ended')"

# an earlier laudos knows no end: to it the model was let answer again, and goes on answering
ANSWERS_AGAIN = """
INSERT INTO champion (classifier, model_id, epoch, since)
SELECT ended.classifier, ended.model_id, ended.epoch, ended.at FROM promotion AS ended
WHERE ended.decision = 'ended'
    AND NOT EXISTS (SELECT 1 FROM champion WHERE champion.classifier = ended.classifier)
    AND NOT EXISTS (SELECT 1 FROM promotion AS later
                    WHERE later.classifier = ended.classifier AND later.epoch > ended.epoch)
"""


def upgrade() -> None:
    _decisions(WITH_ENDED)


def downgrade() -> None:
    op.execute(ANSWERS_AGAIN)
    op.execute("UPDATE promotion SET decision = 'rolled_back' WHERE decision = 'ended'")
    _decisions(BEFORE)


def _decisions(known: str) -> None:
    with op.batch_alter_table("promotion") as table:
        table.drop_constraint(op.f(NAME), type_="check")
        table.create_check_constraint(op.f(NAME), sa.text(known))
