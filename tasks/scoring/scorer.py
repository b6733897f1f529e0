"""A model at a job: what it makes of a claimed chunk, with no transaction open while it computes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from sqlalchemy import Engine

from db import backlog, erasure, features, models, scoring
from db.engine import reading, writing
from db.errors import LaudosError, NothingToWorkOn
from db.features import Feature
from db.models import Model
from db.scoring import Chunk, Job
from tasks.ml.faultpoints import reach
from tasks.ml.network.backends import is_full_precision
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import folder_of, intact
from tasks.scoring.answering import answers, different
from tasks.scoring.backends import on_its_backend, read_on_it
from tasks.scoring.cascade import Student, student_of
from tasks.scoring.shift import verdict, withheld
from tasks.scoring.workers import worker_name
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ScoreSummary:
    """What scoring wrote. `quarantined`: reports that made the model fail.

    `encoded` texts were read by the champion's encoder, those among them that the test for a shift read;
    `identical` reports have the text of one of them; `from_features` were read before the job was cut.
    `by_student`: reports that a student answered before it (tasks/scoring/cascade.py). `withheld`: of
    `review`, those that the model was sure of, in a job of another population (tasks/scoring/shift.py).
    `elsewhere`: chunks that another worker holds or that are left; `paused`: those of a job that a person
    stopped. Both 0 = the job is finished.
    """

    written: int = 0
    review: int = 0
    encoded: int = 0
    identical: int = 0
    from_features: int = 0
    quarantined: int = 0
    by_student: int = 0
    withheld: int = 0
    elsewhere: int = 0
    paused: int = 0

    def __add__(self, other: ScoreSummary) -> ScoreSummary:
        return ScoreSummary(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def load_scorer(engine: Engine, settings: Settings, job: Job, *, alone: bool = False) -> Scorer:
    """The job's model in memory, on its back end and with its student.

    `alone`: with no student, and where `auto` chooses the back end on the reference. What workers died over
    is read so: either of the two may have killed them, and the champion reads the report.
    """
    with reading(engine) as c:
        model = models.existing(c, job.model_id)
    predictor = load_predictor(engine, settings, job.classifier, model)
    if alone:
        # as if few waited: no other is tried, and one that a person chose is kept to
        champion = on_its_backend(engine, settings, model, predictor, reports=0)
    else:
        champion = on_its_backend(engine, settings, model, predictor, job.reports)
    # by vectors as they are stored, which those of reduced precision are not
    of_the_kind = champion if is_full_precision(champion.backend) else predictor
    shifted = verdict(engine, settings, job, model, of_the_kind).state == "shifted"
    student = None if alone else student_of(engine, settings, model, champion, job.reports)
    return Scorer(engine, settings, job, champion, student, shifted)


def load_predictor(engine: Engine, settings: Settings, classifier: str, model: Model) -> Predictor:
    """A classifier's model in memory, after its folder was held against its manifest.

    Raises LaudosError for one that is not what was published: a night that cannot score has failed.
    NothingToWorkOn for one of other labels.
    """
    fault = intact(engine, settings, model, "classify", datetime.now(UTC))
    if fault is not None:
        raise LaudosError(
            f"model {model.id} of {classifier!r} cannot be used: {fault}. Restore its folder from a "
            f'back-up, or run "laudos models rollback {classifier}"'
        )
    predictor = Predictor.load(folder_of(settings, model), model.manifest_sha)
    if set(predictor.labels) != set(settings.classifier(classifier).labels):
        raise NothingToWorkOn(
            f"the labels of {classifier!r} changed since model {model.id} was trained; "
            'run "laudos retrain" for a model of the new ones'
        )
    return predictor


@dataclass(frozen=True)
class Scorer:
    """A model, who may answer before it, and where its chunks come from.

    `shifted`: the job's reports are unlike those that calibrated the model, and none is answered without a
    person.
    """

    engine: Engine
    settings: Settings
    job: Job
    predictor: Predictor
    student: Student | None = None
    shifted: bool = False

    def score(self, chunk: Chunk, meanwhile: Callable[[], object] | None = None) -> ScoreSummary:
        """Predict a claimed chunk and write it; `meanwhile` is called once the model is at work.

        Raises StaleLease, with nothing written.
        """
        ends = (chunk.first_version_id, chunk.last_version_id)
        missing, known = self._read(*ends)
        tokens, beat = self.settings.scoring.batch_tokens, self._heartbeat(chunk, meanwhile)
        sure = self.student.sure(missing, tokens, beat) if self.student is not None else {}
        left = {version: text for version, text in missing.items() if version not in sure}
        predictor, made = read_on_it(self.settings, self.predictor, left, beat)
        encoded = made.encoded + self._read_for_the_job(known.values())
        reach("score.chunk.encoded")
        scored = [*answers(predictor, [*known.values(), *made.fresh.values()]), *sure.values()]
        scored = withheld(scored) if self.shifted else scored
        with writing(self.engine) as c:
            erasure.held_off(c)
            now, backend = scoring.lease_clock(c), predictor.backend
            # what was removed on request while the model read it leaves no trace
            erased = backlog.erased(c, *ends)
            predictions = [one for one in scored if one.report_version_id not in erased]
            kept = [one for version, one in made.fresh.items() if version not in erased]
            failed = [version for version in made.failed if version not in erased]
            reach("score.finish.begun")
            # first: who ends a chunk has the job's row alone from there to the commit, and all others wait
            if self._keeps_vectors:
                features.put(c, self.predictor.encoder_sha, kept, now)
            reach("score.finish.features")
            scoring.finish(c, chunk, predictions, encoded=encoded, backend=backend, now=now)
            reach("score.finish.predictions")
            backlog.give_up(c, self.job.classifier, failed, self.job.run_id, now)
        reach("score.finish.committed")
        for version in failed:
            log.warning("report version %d makes the model fail; it is in quarantine", version)
        return ScoreSummary(
            written=len(predictions),
            review=sum(one.decision == "review" for one in predictions),
            encoded=encoded,
            identical=len(made.fresh) - made.encoded,
            from_features=len(known) + made.encoded - encoded,
            quarantined=len(failed),
            by_student=len(sure),
            withheld=sum(one.review_because == "shifted" for one in predictions),
        )

    def prepare_next(self) -> None:
        """Tokenise what this worker will claim next, if no other works on the job.

        Without a lease and without a trace: whoever claims it reads it again, and what was prepared serves
        where the texts are still the same. Not for the champion where a student answers most of them.
        """
        if self.student is not None:
            return
        with reading(self.engine) as c:
            ends = scoring.next_free(c, self.job.id, worker_name())
        if ends is not None:
            missing, _ = self._read(*ends)
            self.predictor.prepare(different(missing))

    def _read(self, first: int, last: int) -> tuple[dict[int, str], dict[int, Feature]]:
        """Of what waits between two version ids: the texts to be read, and the vectors of the rest."""
        sources = self.settings.classifier(self.job.classifier).sources
        with reading(self.engine) as c:
            texts = backlog.texts(c, self.job.model_id, sources, first, last)
            known = features.get(c, self.predictor.encoder_sha, list(texts)) if self._keeps_vectors else {}
        return {version: text for version, text in texts.items() if version not in known}, known

    def _read_for_the_job(self, known: Iterable[Feature]) -> int:
        """How many were stored since it was cut: the test for a shift reads a sample of it first."""
        return sum(one.stored_at is not None and one.stored_at >= self.job.created_at for one in known)

    @property
    def _keeps_vectors(self) -> bool:
        """Whether its vectors may stand beside those that a head is fitted on."""
        return is_full_precision(self.predictor.backend)

    def _heartbeat(self, chunk: Chunk, first: Callable[[], object] | None) -> Progress:
        """Renews the lease when a third of it has passed; raises StaleLease where it is lost already.

        `first` is called at the first beat.
        """
        lease = self.settings.scoring.lease
        due = time.monotonic() + lease.total_seconds() / 3
        to_begin = [] if first is None else [first]

        def beat(_done: int, _windows: int) -> None:
            nonlocal due
            while to_begin:
                to_begin.pop()()
            if time.monotonic() < due:
                return
            with writing(self.engine) as c:
                scoring.renew(c, chunk, lease, scoring.lease_clock(c))
            due = time.monotonic() + lease.total_seconds() / 3

        return beat
