"""`laudos models end`: no model answers for a classifier any more, and no view counts its answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from db import audit, candidates, models, scoring
from db import doctor as promises
from db.engine import writing
from db.errors import ConfigurationError, NothingToWorkOn
from tasks.database import open_database
from tasks.model_folders import pointer_path
from tasks.person import named, said_why
from tasks.settings.errors import nearest
from tasks.settings.settings import Settings, config_shown


@dataclass(frozen=True)
class Ended:
    """Which model answered until now, and which scoring jobs were stopped for good."""

    classifier: str
    model_id: int
    jobs: list[int]


def end_classifier(settings: Settings, classifier: str, by: str | None, because: str) -> Ended:
    """End a classifier that laudos.toml no longer names, in one transaction.

    Models, predictions and labels stay on record. Raises ConfigurationError where laudos.toml names it, for
    the next night would go on with it, and NothingToWorkOn where no model answers for it.
    """
    by, because, now = named(by), said_why(because), datetime.now(UTC)
    if classifier in settings.classifiers:
        raise ConfigurationError(
            f"{classifier!r} is a classifier of {config_shown()}, and the next night would go on with it; "
            "take its section out first"
        )
    with writing(open_database(settings)) as c:
        champion = models.champion_of(c, classifier)
        if champion is None:
            left = promises.champions(c).keys() - settings.classifiers.keys()
            meant = nearest(classifier, left) if left else ""
            raise NothingToWorkOn(f"no model answers for {classifier!r}{meant}")
        epoch = models.uncrown(c, classifier, expected_epoch=champion.epoch)
        stopped = scoring.stop_former(c, classifier, None, now)
        for one in candidates.pending(c, classifier, held=True):
            candidates.close(c, one.id, "overtaken", by=by, because="its classifier was ended", now=now)
        models.add_promotion(
            c,
            classifier=classifier,
            decision="ended",
            model_id=champion.model.id,
            previous_model_id=None,
            epoch=epoch,
            reasons=[],
            plan_sha="",
            actor=by,
            run_id=None,
            now=now,
        )
        detail = {"model": champion.model.id, "epoch": epoch, "because": because}
        subject = f"classifier {classifier}"
        audit.record(c, actor=by, action="ended", subject=subject, detail=detail, now=now)
    pointer_path(settings, classifier).unlink(missing_ok=True)
    return Ended(classifier, champion.model.id, stopped)
