"""`laudos backends`: every back end with the champion, on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace

from db.engine import reading
from db.errors import LaudosError
from tasks.classifiers import the_champion, the_classifier
from tasks.database import open_database
from tasks.ml.errors import MlError
from tasks.scoring.backends import Trial, on_its_backend, trials
from tasks.scoring.cascade import WORTH_TRYING, offered
from tasks.scoring.cascade_trial import Offer
from tasks.scoring.scorer import load_predictor
from tasks.settings.settings import Settings


@dataclass(frozen=True)
class Tried:
    """A classifier's champion on each back end, the reference first; and before it, its student.

    `cascade` None: not asked for; `no_cascade`: why there is none to try.
    """

    classifier: str
    model_id: int
    trials: list[Trial]
    cascade: Offer | None = None
    no_cascade: str | None = None


def champions_trials(settings: Settings, classifier: str | None, *, cascade: bool = False) -> Tried:
    """Every back end with the champion, and its student where asked for.

    Raises NothingToWorkOn where there is no champion, or no report to try.
    """
    name, engine = the_classifier(settings, classifier), open_database(settings)
    with reading(engine) as c:
        champion = the_champion(c, name)
    predictor = load_predictor(engine, settings, name, champion.model)
    told = Tried(name, champion.model.id, trials(engine, settings, champion.model, predictor))
    if not cascade:
        return told
    on_it = on_its_backend(engine, settings, champion.model, predictor, WORTH_TRYING)
    try:
        return replace(told, cascade=offered(engine, settings, champion.model, on_it))
    except (LaudosError, MlError) as lacking:
        return replace(told, no_cascade=str(lacking))
