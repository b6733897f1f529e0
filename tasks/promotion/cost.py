"""What a challenger costs, and what the plan's budget says to it."""

from __future__ import annotations

import time
from datetime import datetime

from sqlalchemy import Engine

from db.models import Champion, Model
from tasks.ml.judging.rules import Reason, Rules
from tasks.ml.network.budget import (
    SPEED,
    Reader,
    asks_for_time,
    bytes_loaded,
    sample,
    size_reason,
    speed_reason,
    time_reason,
    timed,
)
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import folder_of
from tasks.models.usable import unusable
from tasks.person import AUTOMATIC
from tasks.settings.settings import Settings


def budget_reasons(
    engine: Engine,
    settings: Settings,
    model: Model,
    champion: Champion | None,
    texts: list[str],
    rules: Rules,
    now: datetime,
) -> list[Reason]:
    """The rules on size and time. texts: the holdout's, of which a few are read by both.

    Both are timed with torch on the processor, whatever back end will score. A head on the champion's encoder
    is not timed: it reads what the champion reads, and a last layer costs nothing beside that.
    """
    before = None if champion is None else champion.model
    if before is not None and unusable(engine, settings, before, AUTOMATIC, now) is not None:
        before = None
    theirs = None if before is None else bytes_loaded(folder_of(settings, before))
    reasons = [size_reason(bytes_loaded(folder_of(settings, model)), theirs, rules)]
    same = before is not None and before.encoder_sha == model.encoder_sha
    beside = None if same else before
    if rules.slower_max and beside is None:
        told = "it has the champion's encoder: the same cost, nothing was timed"
        told = told if same else "there is no champion to compare with that can be used here"
        reasons.append(Reason(SPEED, True, told, f"at most {rules.slower_max:g} times as long"))
    if asks_for_time(rules, beside=beside is not None):
        chosen = sample(texts)
        against = _reader(settings, beside, chosen) if beside is not None and rules.slower_max else None
        found = timed(_reader(settings, model, chosen), against, len(chosen), time.process_time)
        reasons += [speed_reason(found, rules)] if against is not None else []
        reasons += [time_reason(found, rules)] if rules.report_ms_max else []
    return reasons


def _reader(settings: Settings, model: Model, texts: list[str]) -> Reader:
    predictor = Predictor.load(folder_of(settings, model), model.manifest_sha)
    return lambda: predictor.vectors(texts, batch_tokens=settings.scoring.batch_tokens)
