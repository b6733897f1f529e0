"""A challenger scores along: what the champion answered since, kept apart, until there is enough to compare.

Its answers count nowhere: not as current predictions, not in a job, not in a view of answers. Vectors that
had to be computed are kept as any others, so that what it read along is not read again should it answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Engine

from db import candidates, erasure, features, models, reports, shadow
from db.candidates import Candidate
from db.engine import reading, writing
from db.models import Model
from db.shadow import Beside
from tasks.database import open_database
from tasks.ml.judging.shadow import shadow_reason
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import point_at_champion
from tasks.person import AUTOMATIC
from tasks.progress import progress_bar
from tasks.promotion.approval import refuse_broken
from tasks.promotion.candidacy import end, lapse, let_wait, rules_of
from tasks.scoring.answering import answers, read
from tasks.scoring.scorer import load_predictor
from tasks.settings.settings import Settings
from tasks.step import step

REPORTS_A_PAGE = 500


@dataclass(frozen=True)
class ScoredAlong:
    """What a challenger scored along: `written` now, `beside` the champion in all, of `asked`.

    `state`: shadow while it goes on; waiting, accepted or refused where it had scored enough; overtaken or
    expired where it no longer counts.
    """

    model_id: int
    written: int
    asked: int
    beside: Beside
    state: candidates.State


def scores_along(settings: Settings, classifier: str) -> bool:
    """Whether a challenger of the classifier scores along now: a look, before a step is begun for it."""
    with reading(open_database(settings)) as c:
        return any(one.state == "shadow" for one in candidates.pending(c, classifier))


@step("score along", run_name="score along {classifier}", retries=2)
def score_along(classifier: str) -> ScoredAlong | None:
    """Let the challenger read what the champion answered since, and decide once it has read enough.

    None where none scores along. Safe to repeat, and by several processes at once.
    """
    settings = Settings.load()
    return along(open_database(settings), settings, classifier, datetime.now(UTC))


def along(engine: Engine, settings: Settings, classifier: str, now: datetime) -> ScoredAlong | None:
    """`score_along`, at a given time."""
    lapse(engine, settings, now, classifier)
    with reading(engine) as c:
        one = next((one for one in candidates.pending(c, classifier) if one.state == "shadow"), None)
        model = None if one is None else models.get(c, one.model_id)
    if one is None or model is None:
        return None
    written = _score(engine, settings, one, model, now)
    with reading(engine) as c:
        found = shadow.beside(c, one)
    state = one.state
    if found.reports >= one.shadow_reports:
        state = _decide(engine, settings, one, found, now)
    return ScoredAlong(one.model_id, written, one.shadow_reports, found, state)


def _score(engine: Engine, settings: Settings, one: Candidate, model: Model, now: datetime) -> int:
    """Read page after page until it has enough or nothing is left; how many were written."""
    predictor: Predictor | None = None
    written, last = 0, 0
    with reading(engine) as c:
        lacking = one.shadow_reports - shadow.beside(c, one).reports
    with progress_bar("scoring along") as progress:
        while written < lacking:
            with reading(engine) as c:
                texts = shadow.due(c, one, after=last, limit=min(lacking - written, REPORTS_A_PAGE))
            if not texts:
                break
            predictor = predictor or load_predictor(engine, settings, one.classifier, model)
            written += _page(engine, settings, one, predictor, texts, now)
            last = max(texts)  # what makes it fail stays due for another night, and holds nothing up in this
            progress(written, lacking)
    return written


def _page(
    engine: Engine,
    settings: Settings,
    one: Candidate,
    predictor: Predictor,
    texts: dict[int, str],
    now: datetime,
) -> int:
    """How many answers were written. No transaction is open while the challenger reads."""
    with reading(engine) as c:
        known = features.get(c, predictor.encoder_sha, list(texts))
    missing = {version: text for version, text in texts.items() if version not in known}
    made = read(predictor, missing, settings.scoring.batch_tokens)
    scored = answers(predictor, [*known.values(), *made.fresh.values()])
    with writing(engine) as c:
        erasure.held_off(c)
        # what was removed on request meanwhile leaves no trace
        there = set(reports.texts(c, list(texts)))
        features.put(c, predictor.encoder_sha, [made.fresh[at] for at in made.fresh if at in there], now)
        return shadow.put(c, one.id, [said for said in scored if said.report_version_id in there], now)


def _decide(
    engine: Engine, settings: Settings, one: Candidate, found: Beside, now: datetime
) -> candidates.State:
    """It has scored enough: refused, let answer, or left to a person, as the plan says."""
    rules = rules_of(settings.classifier(one.classifier))
    reason = shadow_reason(found.reports, found.patients, found.same_label, rules)
    reasons = [*one.reasons, asdict(reason)]
    if not reason.passed:
        return _end(engine, settings, one, "refused", reasons, now)
    if rules.approval != "person":
        refuse_broken(engine, settings, one)  # what it scored along, another night may have read
        return _end(engine, settings, one, "accepted", reasons, now)
    with writing(engine) as c:
        let_wait(c, one, reasons, rules, found, now)
    return "waiting"


def _end(
    engine: Engine,
    settings: Settings,
    one: Candidate,
    state: Literal["accepted", "refused"],
    reasons: Sequence[dict[str, Any]],
    now: datetime,
) -> candidates.State:
    with writing(engine) as c:
        end(c, one, state, list(reasons), AUTOMATIC, None, now)
    point_at_champion(engine, settings, one.classifier)
    return state
