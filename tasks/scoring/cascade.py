"""The cascade: a student answers where it is sure, the champion reads the rest. Off unless `scoring.cascade`.

The student is the classifier's newest model that `laudos distill` made. It is offered only where calibration
reports prove that hardly any decision differs and it pays, tried once for each champion, student, back end
and machine; and no longer once an audit failed (tasks/scoring/cascade_audit.py). What it answers bears its
name in `prediction.backend`: `openvino-bf16/model-12`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, Engine

from db import metrics, models
from db.engine import reading
from db.errors import LaudosError
from db.models import Model
from db.predictions import Scored
from tasks.ml.errors import MlError
from tasks.ml.network.backends import Backend, machine, why_not
from tasks.ml.network.cascade import Agreement, is_sure
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import folder_of, trials_folder, write_atomically
from tasks.models.models import student_among
from tasks.scoring.answering import Beat, answers, read
from tasks.scoring.cascade_trial import Offer, kept_in, more_may_be_proven, tried
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)

AUDIT = "cascade"  # the population of the audits' figures
WORTH_TRYING = 100_000  # reports: the trial reads some thousands with both networks
BY = "/model-"


@dataclass(frozen=True)
class Student:
    """Who answers first, and how sure it must be."""

    model_id: int
    predictor: Predictor
    confidence: float

    def sure(
        self, texts: Mapping[int, str], batch_tokens: int, beat: Beat | None = None
    ) -> dict[int, Scored]:
        """Its answers that stand, by report version; what makes it fail is left to the champion."""
        try:
            made = read(self.predictor, texts, batch_tokens, beat)
        except LaudosError:
            raise
        except Exception as error:
            # its words may quote what it was given
            log.warning("the student, model %d, fails (%s)", self.model_id, type(error).__name__)
            return {}
        backend = answered_by(self.predictor.backend, self.model_id)
        return {
            one.report_version_id: replace(one, backend=backend)
            for one in answers(self.predictor, list(made.fresh.values()))
            if is_sure(one, self.confidence)
        }


def answered_by(backend: str, model_id: int) -> str:
    """What `prediction.backend` says where a student answered."""
    return f"{backend}{BY}{model_id}"


def who_answered(recorded: str, champion_id: int) -> tuple[str, int]:
    """The back end and the model behind what `prediction.backend` says."""
    backend, by, student = recorded.partition(BY)
    return backend, int(student) if by else champion_id


def student_of(
    engine: Engine, settings: Settings, model: Model, champion: Predictor, reports: int
) -> Student | None:
    """Who answers first for a champion on its back end; None where nobody may, and the log says why.

    What stands in its way never stops a scoring: then the champion reads everything.
    """
    if not settings.scoring.cascade:
        return None
    try:
        return _student(engine, settings, model, champion, reports)
    except (LaudosError, MlError) as failure:
        lacking = str(failure)
    except Exception as failure:
        # a GPU without memory left; its words may quote what it was given
        lacking = f"its student fails ({type(failure).__name__})"
    log.warning("the champion reads everything, without a cascade: %s", lacking)
    return None


def _student(
    engine: Engine, settings: Settings, model: Model, champion: Predictor, reports: int
) -> Student | None:
    asked = _Asked.of(engine, settings, model, champion)
    with reading(engine) as c:
        breach = audited(c, model.id, asked.student.id).breach()
    if breach is not None:
        raise LaudosError(f"it failed its audits: {breach}; a new student or champion begins anew")
    worth = reports >= WORTH_TRYING
    offer = offered(engine, settings, model, champion) if worth else kept_in(asked.kept_in)
    if offer is None:
        log.info("the cascade was not tried yet, and %d reports are not worth a trial", reports)
        return None
    if offer.refused is not None:
        raise LaudosError(f"its student, model {offer.student_id}, may not answer: {offer.refused}")
    return Student(offer.student_id, asked.load(settings), offer.choice.confidence)


def offered(engine: Engine, settings: Settings, model: Model, champion: Predictor) -> Offer:
    """What was found of the champion's student on this machine, tried where it was not.

    Where too little could be proven it is tried again once there is enough more to prove it with.
    Raises LaudosError where it has none, or there is nothing to try it on; MlError for one that is broken.
    """
    asked = _Asked.of(engine, settings, model, champion)
    kept = kept_in(asked.kept_in)
    if kept is not None and not more_may_be_proven(engine, settings, model, kept):
        return kept
    tests = 0 if kept is None else kept.tests
    offer = tried(engine, settings, model, champion, asked.student.id, asked.load(settings), tests)
    write_atomically(asked.kept_in, (json.dumps(asdict(offer), indent=1) + "\n").encode())
    return offer


@dataclass(frozen=True)
class _Asked:
    """A champion's student, what it runs on, and where what is found of it is kept."""

    student: Model
    backend: Backend
    kept_in: Path

    @classmethod
    def of(cls, engine: Engine, settings: Settings, model: Model, champion: Predictor) -> _Asked:
        with reading(engine) as c:
            student = student_among(models.of_classifier(c, model.classifier), model)
        if student is None:
            raise LaudosError(f'{model.classifier!r} has no student; "laudos distill" makes one')
        # in bfloat16 where OpenVINO has it: a student's vectors are never stored, and what it answers is held
        # against the champion's answers, not against its own
        reduced: Backend = "openvino-bf16" if champion.backend.startswith("openvino") else champion.backend
        backend = champion.backend if why_not(reduced) else reduced
        about = {**machine(), "backends": [champion.backend, backend], "student": student.manifest_sha}
        here = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        name = f"{model.manifest_sha[:16]}-cascade-{here[:8]}.json"
        return cls(student, backend, trials_folder(settings) / name)

    def load(self, settings: Settings) -> Predictor:
        """The student in memory. Raises MlError."""
        return Predictor.load(folder_of(settings, self.student), self.student.manifest_sha).on(self.backend)


def audited(c: Connection, champion_id: int, student_id: int) -> Agreement:
    """All audits of a champion with this student together, from the figures that they wrote."""
    counts = metrics.summed(c, champion_id, AUDIT, audit_slice(student_id))
    other, reports = counts.get("other_decisions", (0.0, 0))
    lost, critical = counts.get("critical_lost", (0.0, 0))
    answered = counts.get("answered", (0.0, 0))[0]
    return Agreement(reports, critical, round(answered), round(other), round(lost))


def audit_slice(student_id: int) -> str:
    """Under which slice a student's audits stand in `metric`."""
    return f"student={student_id}"
