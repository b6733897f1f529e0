"""`laudos behaviour`: one model tried on a suite, for a person."""

from __future__ import annotations

from dataclasses import dataclass

from db import models
from db.engine import reading
from db.errors import NothingToWorkOn
from tasks.classifiers import the_classifier
from tasks.database import open_database
from tasks.ml.behaviour.run import SuiteRun
from tasks.ml.behaviour.suite import load_suite
from tasks.ml.pages.report_figures import behaviour_words as behaviour_words
from tasks.models.models import model_row
from tasks.settings.settings import Settings
from tasks.training.behaviour import run_of, suite_of


@dataclass(frozen=True)
class ShareRight:
    """Of which pairs, how many are right, and the ends of the 95 % interval of the share."""

    of: str
    right: int
    pairs: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class FailedPair:
    """`before`, `after`: the probability of the critical label in the base report and in the changed one."""

    pair: str
    line: int
    expected: str
    before: float
    after: float
    base: str
    changed: str


@dataclass(frozen=True)
class Behaved:
    """What one model made of one suite."""

    classifier: str
    model_id: int
    suite: str
    suite_sha: str
    shares: list[ShareRight]
    failed: list[FailedPair]


def try_behaviour(
    settings: Settings,
    *,
    classifier: str | None = None,
    model_id: int | None = None,
    suite: str | None = None,
) -> Behaved:
    """The model, or the classifier's champion (default: of the only classifier), on its suite or another.

    Raises NothingToWorkOn where there is no champion, or no suite.
    """
    engine = open_database(settings)
    if model_id is not None:
        model = model_row(engine, model_id)
    else:
        name = the_classifier(settings, classifier)
        with reading(engine) as c:
            champion = models.champion_of(c, name)
        if champion is None:
            raise NothingToWorkOn(f'{name!r} has no champion; run "laudos retrain" first, or name a --model')
        model = champion.model
    chosen = load_suite(suite) if suite is not None else suite_of(settings.classifier(model.classifier))
    if chosen is None:
        raise NothingToWorkOn(
            f"{model.classifier!r} has no behaviour suite; name one with --suite, or as its 'behaviour' in "
            "laudos.toml"
        )
    run = run_of(settings, model, chosen)
    return Behaved(model.classifier, model.id, chosen.name, chosen.sha, _shares(run), _failed(run))


def _shares(run: SuiteRun) -> list[ShareRight]:
    return [
        ShareRight(part, share.right, share.pairs, share.value, *share.interval)
        for part, share in run.shares.items()
    ]


def _failed(run: SuiteRun) -> list[FailedPair]:
    tried = zip(run.suite.pairs, run.before.tolist(), run.after.tolist(), run.right.tolist(), strict=True)
    return [
        FailedPair(pair.id, pair.line, pair.effect, before, after, pair.base, pair.changed)
        for pair, before, after, right in tried
        if not right
    ]
