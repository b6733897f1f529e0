"""Score what the champion has not read yet: one classifier after the other."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.classifiers import each_classifier
from tasks.database import open_database
from tasks.errors import LaudosError
from tasks.ledger import recorded_run
from tasks.promotion.form import offer_form
from tasks.scoring.classify import cut_backlog, score
from tasks.scoring.scorer import ScoreSummary
from tasks.scoring.shadow import ScoredAlong, score_along, scores_along
from tasks.settings.settings import Settings
from tasks.settings.values import Address
from tasks.step import Name, flow


@dataclass(frozen=True)
class ClassifySummary:
    """What one classifier's scoring came to.

    `outcome`: scored, nothing to score, paused or failed.

    Counts are of the step's last try, where a database that was away had it repeated. What stands in the
    database, and so on the page *Tonight*, is whole.

    written predictions, `review` of them for a person to look at; `encoded` reports went through the
    encoder, `identical` ones have the text of one of them, `from_features` were read before the job was cut;
    `by_student`: those that a student answered before the champion (`scoring.cascade`); `withheld`: of
    `review`, those that were sure, in a job of another population than calibrated it (`scoring.shift_level`);
    `quarantined` made the model fail; `paused` chunks wait for `resume_with`. `along`: what a challenger
    scored beside it, answering nothing.
    """

    classifier: str
    outcome: str
    run_id: int | None = None
    jobs: tuple[int, ...] = ()
    written: int = 0
    review: int = 0
    encoded: int = 0
    identical: int = 0
    from_features: int = 0
    quarantined: int = 0
    by_student: int = 0
    withheld: int = 0
    paused: int = 0
    resume_with: str | None = None
    failure: str | None = None
    along: ScoredAlong | None = None


@flow("classify", run_name="classify {classifier} {day}")
def classify(classifier: Name | None = None, dask: Address | None = None) -> list[ClassifySummary]:
    """Score the backlog of one classifier or of all, here or on a Dask cluster.

    With several, one that fails does not stop the others; its summary says why. Raises where the only
    one asked for failed, and where all did.
    """
    settings = Settings.load()
    return each_classifier(
        settings,
        classifier,
        lambda name: _classify_one(settings, name, dask),
        lambda name, failure: ClassifySummary(name, "failed", failure=str(failure)),
    )


def _classify_one(settings: Settings, classifier: str, dask: str | None) -> ClassifySummary:
    settings.classifier(classifier)
    jobs: list[int] = []
    scored = ScoreSummary()
    with recorded_run(open_database(settings), settings, "classify") as run:
        # twice: what an interrupted run left comes first, then what has come in since
        for _ in range(2):
            job_id = cut_backlog(run.id, classifier)
            if job_id is None or job_id in jobs:
                break
            jobs.append(job_id)
            scored += score(job_id, dask)
        along, failure = _score_along(settings, classifier)
    resume_with = f"laudos jobs resume {jobs[-1]}" if scored.paused else None
    return ClassifySummary(
        classifier,
        _outcome(jobs, scored),
        run.id,
        tuple(jobs),
        **{name: count for name, count in vars(scored).items() if name != "elsewhere"},  # none: it waits
        resume_with=resume_with,
        failure=failure,
        along=along,
    )


def _score_along(settings: Settings, classifier: str) -> tuple[ScoredAlong | None, str | None]:
    """A challenger in the champion's shadow; that it fails is told, and harms no answer."""
    try:
        if not scores_along(settings, classifier):
            return None, None
        along = score_along(classifier)
        if along is not None and along.state == "waiting":
            offer_form(settings, along.model_id)
        return along, None
    except LaudosError as failed:
        return None, f"the challenger that scores along failed: {failed}"


def _outcome(jobs: list[int], scored: ScoreSummary) -> str:
    if scored.paused:
        return "paused"
    return "scored" if jobs else "nothing to score"
