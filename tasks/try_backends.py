"""`laudos backends`: every back end with the champion, on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from db.engine import reading
from tasks.backends import Trial, trials
from tasks.classify import the_champion, the_classifier
from tasks.database import open_database
from tasks.scorer import load_predictor
from tasks.settings import Settings


@dataclass(frozen=True)
class Tried:
    """A classifier's champion on each back end, the reference first."""

    classifier: str
    model_id: int
    trials: list[Trial]


def champions_trials(settings: Settings, classifier: str | None) -> Tried:
    """Every back end with the champion. Raises NothingToWorkOn where there is none, or no report to try."""
    name, engine = the_classifier(settings, classifier), open_database(settings)
    with reading(engine) as c:
        champion = the_champion(c, name)
    predictor = load_predictor(engine, settings, name, champion.model)
    return Tried(name, champion.model.id, trials(engine, settings, champion.model, predictor))
