"""What is written when a challenger's fate is decided: champion, promotion and audit, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection

from db import audit, models
from db.models import Model
from tasks.ml.faultpoints import reach


def write_decision(
    c: Connection,
    model: Model,
    decision: Literal["promoted", "refused"],
    *,
    champion: tuple[int, int] | None,
    reasons: Sequence[Mapping[str, Any]],
    plan_sha: str,
    actor: str,
    run_id: int | None,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
) -> int | None:
    """In the caller's transaction; the champion's new epoch, None for a refusal.

    `champion`: number and epoch of the one it was judged against. `detail`: more for the audit. Raises Busy
    where the champion is no longer that one.
    """
    before, seen = champion or (None, None)
    epoch = None
    if decision == "promoted":
        epoch = models.crown(c, model.classifier, model.id, expected_epoch=seen, now=now)
        reach("promote.crowned")
    models.add_promotion(
        c,
        classifier=model.classifier,
        decision=decision,
        model_id=model.id,
        previous_model_id=before,
        epoch=epoch,
        reasons=reasons,
        plan_sha=plan_sha,
        actor=actor,
        run_id=run_id,
        now=now,
    )
    told = {"run": run_id, "champion_before": before, "epoch": epoch, "rules_sha": plan_sha, **(detail or {})}
    audit.record(c, actor=actor, action=decision, subject=f"model {model.id}", detail=told, now=now)
    return epoch
