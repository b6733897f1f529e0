"""The cascade: a student answers where it is sure, the champion reads the rest. Off unless `scoring.cascade`.

The student is the classifier's newest model that `laudos distill` made. It is offered only where calibration
reports prove that hardly any decision differs and it pays, tried once for each champion, student, back end
and machine; and no longer once an audit failed (tasks/cascade_audit.py). What it answers bears its name in
`prediction.backend`: `openvino-bf16/model-12`.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine

from db import metrics, models, snapshots
from db.engine import reading
from db.errors import LaudosError
from db.models import Model
from db.predictions import Scored
from tasks.answering import Beat, answers, read
from tasks.ml.backends import Backend, machine, why_not
from tasks.ml.cascade import PAYS_FROM, Agreement, Choice, choose, is_sure, too_few_patients
from tasks.ml.errors import MlError
from tasks.ml.isolation import PROBE
from tasks.ml.predictor import Predictor
from tasks.ml.splits import split_of, unit_interval
from tasks.model_folders import folder_of, note_use, trials_folder, write_atomically
from tasks.models import student_among
from tasks.settings import Settings

log = logging.getLogger(__name__)

AUDIT = "cascade"  # the population of the audits' figures
READ_MAX = 10_000  # calibration reports, one a patient: five other decisions among them may be promised
TIMED = 1000  # of these
MORE_PERCENT = 10  # of them: so many more may prove what those that there were did not
WORTH_TRYING = 100_000  # reports: the trial reads READ_MAX with both networks
BY = "/model-"


@dataclass(frozen=True)
class Offer:
    """What a trial found: how sure the student must be, how it agreed, and how many times as fast it all is.

    `refused`: why it is not offered; None: it is.
    """

    student_id: int
    choice: Choice
    times_as_fast: float
    refused: str | None


_OFFER = TypeAdapter(Offer)


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
    offer = offered(engine, settings, model, champion) if worth else _kept(asked.kept_in)
    if offer is None:
        log.info("the cascade was not tried yet, and %d reports are not worth a trial", reports)
        return None
    if offer.refused is not None:
        raise LaudosError(f"its student, model {offer.student_id}, may not answer: {offer.refused}")
    return Student(offer.student_id, asked.load(settings), offer.choice.confidence)


def offered(engine: Engine, settings: Settings, model: Model, champion: Predictor) -> Offer:
    """What was found of the champion's student on this machine, tried where it was not.

    Where too little could be proven it is tried again once there is a tenth more to prove it with.
    Raises LaudosError where it has none, or there is nothing to try it on; MlError for one that is broken.
    """
    asked = _Asked.of(engine, settings, model, champion)
    note_use(asked.kept_in)
    kept = _kept(asked.kept_in)
    if kept is not None and not _more_may_be_proven(engine, settings, model, kept):
        return kept
    offer = tried(engine, settings, model, champion, asked.student.id, asked.load(settings))
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


def tried(
    engine: Engine, settings: Settings, model: Model, champion: Predictor, student_id: int, student: Predictor
) -> Offer:
    """Both networks on calibration reports of hospital patients: an offer, or why there is none.

    Raises LaudosError where these are too few, or a network fails on them.
    """
    texts = _calibration(engine, settings, model)
    if lacking := too_few_patients(len(texts)):
        raise LaudosError(lacking)  # and not kept: there may be more of them tomorrow
    batch_tokens = settings.scoring.batch_tokens
    try:
        small, student_s = _read(student, texts, batch_tokens)
        large, champion_s = _read(champion, texts, batch_tokens)
    except Exception as error:
        # its words may quote what it was given
        raise LaudosError(f"a network fails on calibration reports ({type(error).__name__})") from None
    # what makes the champion fail goes into quarantine, what makes the student fail is left to it
    both = sorted(small.keys() & large.keys())
    choice = choose([small[at] for at in both], [large[at] for at in both], champion.facts.critical)
    if choice.refused is not None:
        return Offer(student_id, choice, 1.0, choice.refused)
    left = [
        text
        for at, text in enumerate(texts[:TIMED])
        if at not in small or not is_sure(small[at], choice.confidence)
    ]
    left_s = _read(champion, left, batch_tokens)[1] if left else 0.0
    times = champion_s / (student_s + left_s)
    slow = f"it is {times:.2f} times as fast, and pays from {PAYS_FROM:g}" if times < PAYS_FROM else None
    return Offer(student_id, choice, times, slow)


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


def _read(predictor: Predictor, texts: Sequence[str], batch_tokens: int) -> tuple[dict[int, Scored], float]:
    """The answers by a text's place, read as a backlog is, and the seconds that the first TIMED took.

    What makes the network fail has no answer.
    """
    predictor.vectors([PROBE])  # what a network does once is not counted
    timed, rest = (dict(enumerate(texts[:TIMED])), dict(enumerate(texts[TIMED:], TIMED)))
    begun = time.perf_counter()
    told = answers(predictor, list(read(predictor, timed, batch_tokens).fresh.values()))
    seconds = time.perf_counter() - begun
    told += answers(predictor, list(read(predictor, rest, batch_tokens).fresh.values()))
    return {one.report_version_id: one for one in told}, seconds


def _calibration(engine: Engine, settings: Settings, model: Model) -> list[str]:
    """Texts of one report of each hospital patient in the calibration split, READ_MAX at most, in an order of
    chance that is always the same. Whether they bear a label does not matter."""
    with reading(engine) as c:
        chosen = heapq.nsmallest(READ_MAX, _one_each(c, settings, model), key=_drawn)
        texts = snapshots.texts(c, chosen)
    return [texts[version] for version in chosen]


def _one_each(c: Connection, settings: Settings, model: Model) -> list[int]:
    """The first current report version of each hospital patient in the calibration split."""
    sources = settings.classifier(model.classifier).sources
    one_each: dict[str, int] = {}
    for version, patient, _ in snapshots.hospital_reports(c, model.snapshot_id, sources):
        if split_of(patient) == "calibration":
            one_each.setdefault(patient, version)
    return list(one_each.values())


def _more_may_be_proven(engine: Engine, settings: Settings, model: Model, kept: Offer) -> bool:
    """Whether the student was refused for want of proof, and so many patients came since that it is worth
    another trial. One that is too slow stays refused: more reports make it no faster."""
    then = kept.choice.agreement.reports
    if kept.choice.refused is None or then >= READ_MAX:
        return False
    with reading(engine) as c:
        now = len(_one_each(c, settings, model))
    return now >= min(READ_MAX, then + max(1, then * MORE_PERCENT // 100))


def _drawn(version: int) -> float:
    return unit_interval(str(version), "cascade")


def _kept(path: Path) -> Offer | None:
    """What was found before; None where no file says so that can be read."""
    try:
        return _OFFER.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning(
            "%s was written by another laudos or is damaged (%s): the student is tried anew",
            path.name, type(error).__name__,
        )  # fmt: skip
        return None
