"""What was answered, held against what stands at the hospital: each report once, by the champion."""

from __future__ import annotations

from db import models, trial_scores
from db.engine import reading
from tasks.torture.scratch import CLASSIFIER, Scratch


def answered(world: Scratch) -> int:
    """Every report that stands was answered once by the champion; how many there are."""
    with reading(world.engine) as c:
        champion = models.champion_of(c, CLASSIFIER)
        assert champion is not None
        found = trial_scores.scores(c, champion.model.id)
    if found.never or found.more:
        world.complain(
            "answered_exactly_once",
            f"of {found.reports} reports {found.never} were never answered, {found.more} more than once",
        )
    if found.given_up:
        world.complain("no_healthy_report_given_up", f"{found.given_up} reports lie in quarantine")
    if found.jobs_unfinished:
        world.complain("jobs_end", f"{found.jobs_unfinished} jobs are not done")
    return found.reports
