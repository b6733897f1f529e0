"""Chunks count the workers that died over them; jobs can be paused; models removed, their rows staying."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# table -> its states before and since; what the newer ones fall back to
STATES = {
    "score_job": (("open", "done", "stopped"), ("open", "paused", "done", "stopped")),
    "model": (("ready", "retired", "tainted"), ("ready", "retired", "tainted", "removed")),
}
FALLBACK = {"score_job": ("paused", "open"), "model": ("removed", "tainted")}
# CHECKs that a copied SQLite table would lose: whether they are reflected depends on SQLAlchemy's version
OTHER_CHECKS = {"score_job": (), "model": (("trained_known", "trained IN ('full', 'head')"),)}


def upgrade() -> None:
    op.add_column(
        "score_chunk",
        sa.Column(
            "deaths",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="workers that fell silent over it: the second halves it, a single report is given up",
        ),
    )
    for table, (_, since) in STATES.items():
        _allow(table, since)


def downgrade() -> None:
    for table, (newer, older) in FALLBACK.items():
        op.execute(sa.text(f"UPDATE {table} SET state = '{older}' WHERE state = '{newer}'"))
    for table, (before, _) in STATES.items():
        _allow(table, before)
    op.drop_column("score_chunk", "deaths")


def _allow(table: str, states: tuple[str, ...]) -> None:
    """Let the table's `state` be one of these, and no other."""
    known = f"state IN ({', '.join(map(repr, states))})"
    if op.get_bind().dialect.name == "sqlite":
        as_it_is = sa.Table(table, sa.MetaData(), autoload_with=op.get_bind())
        as_it_is.constraints = {
            one for one in as_it_is.constraints if not isinstance(one, sa.CheckConstraint)
        }
        for name, rule in (("state_known", known), *OTHER_CHECKS[table]):
            as_it_is.append_constraint(sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}")))
        with op.batch_alter_table(table, recreate="always", copy_from=as_it_is):
            pass
        return
    op.drop_constraint(op.f(f"ck_{table}_state_known"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_state_known"), table, known)
