"""Before a job is answered: are its reports, taken together, still those that the promise was made for?

    the calibration split of the champion's training set, one report a patient
    the job's reports, one a patient, and where these are few the last that were answered before

The worker that comes first reads a sample of the job and decides for all chunks; the others wait for it.
What it reads is stored as any other vector, so it costs no report a second reading (but where a student
answers, whose reports have no vector: then at most FILLED_TO of them a job). Where the test finds another
population, nothing is answered without a person: the promise of `tasks.ml.network.conformal` is not made.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import Engine

from db import erasure, features, reports, scoring, shift
from db.engine import reading, writing
from db.errors import LaudosError
from db.features import Feature
from db.models import Model
from db.predictions import Scored
from db.scoring import Job
from db.shift import State, Verdict
from tasks.ml.judging.shift import PATIENTS_MAX, PATIENTS_MIN, Population, compare
from tasks.ml.network.familiarity import scores
from tasks.ml.network.predictor import Predictor
from tasks.ml.splits import unit_interval
from tasks.scoring.answering import read
from tasks.scoring.cascade import BY
from tasks.scoring.workers import is_dead, worker_name
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)

FILLED_TO = 200  # patients: a small job is tested together with what came before it
EARLIER = timedelta(days=30)
REPORTS_A_PATIENT = 4  # so many rows are looked through for each patient that is wanted
TEXTS_A_PAGE = 64  # encoded, stored, and the lease renewed
POLL_S = 0.5

# what tests apart; it is given the job's number and the worker whose lease it is
COMMAND = (sys.executable, "-m", "tasks.scoring.shift_apart")


def verdict(engine: Engine, settings: Settings, job: Job, model: Model, predictor: Predictor) -> Verdict:
    """What was decided of the job; tested here where it is due and no other worker is at it."""
    worker = worker_name()
    while True:
        with reading(engine) as c:
            known = shift.verdict_of(c, job.id)
            tester = shift.tester_of(c, job.id)
        if known is not None:
            return known
        gone = {tester} if tester is not None and is_dead(tester) else set[str]()
        with writing(engine) as c:
            # a retry of the step in the same process: it lives, and still bears the name on its former lease
            shift.give_back(c, job.id, worker)
            now = scoring.lease_clock(c)
            tries = shift.claim(c, job.id, worker, settings.scoring.lease, now, gone=gone)
        if tries == 1:
            decide(engine, settings, job, model, predictor, worker)
        elif tries:
            _test_apart(engine, job, worker)
        else:
            time.sleep(POLL_S)


def reads_first(engine: Engine, settings: Settings, model: Model, labels: Sequence[str]) -> tuple[int, int]:
    """How many reports without a stored vector a test of the backlog would read: waiting ones, and others."""
    known, (waiting, earlier) = _calibrated(engine, model, labels), _night(engine, settings, model)
    few = min(len(known), len(waiting) + len(earlier)) < PATIENTS_MIN
    if few or settings.scoring.shift_level == 0:
        return 0, 0
    with reading(engine) as c:
        mine, others = (
            len(some) - len(features.get(c, model.encoder_sha, some))
            for some in (waiting, [*known, *earlier])
        )
    return mine, others


def withheld(scored: Iterable[Scored]) -> list[Scored]:
    """The same answers, none of them without a person; who was unsure stays unsure."""
    return [
        replace(one, decision="review", review_because="shifted") if one.decision == "auto" else one
        for one in scored
    ]


def decide(
    engine: Engine, settings: Settings, job: Job, model: Model, predictor: Predictor, worker: str
) -> None:
    """Decide and record; whatever ends this early gives the test back, and what fails for good says so."""
    try:
        found = _found(engine, settings, job, model, predictor, worker)
    except LaudosError:
        _give_back(engine, job, worker)
        raise
    except Exception as error:
        # its words may quote what it was given; that a test fails must keep no report from being scored
        log.warning("job %d could not be tested for a shift (%s)", job.id, type(error).__name__)
        found = Verdict("untested", "failed", level=settings.scoring.shift_level)
    except BaseException:
        _give_back(engine, job, worker)
        raise
    with writing(engine) as c:
        shift.record(c, job.id, worker, found, scoring.lease_clock(c))
    _tell(job, found)


def _test_apart(engine: Engine, job: Job, worker: str) -> None:
    """A worker died over it: once more, where a report can kill nothing but a process of its own."""
    process = subprocess.Popen([*COMMAND, str(job.id), worker])
    try:
        code = process.wait()
    finally:
        # Ctrl-C, or the end of this process: the other one gives the test back
        process.terminate()
        process.wait()
    if code != 0:
        log.warning("job %d: a process that tested for a shift ended with code %d", job.id, code)
        with writing(engine) as c:
            ended = Verdict("untested", "killed" if code < 0 else "failed")
            shift.end(c, job.id, ended, scoring.lease_clock(c))


def _give_back(engine: Engine, job: Job, worker: str) -> None:
    with suppress(LaudosError), writing(engine) as c:
        shift.give_back(c, job.id, worker)


def _tell(job: Job, found: Verdict) -> None:
    if found.state == "shifted":
        log.warning(
            "job %d of %s: its reports are unlike those that calibrated model %d (%s, AUROC %.2f, p %.1e), "
            "so what it would answer goes to a person",
            job.id, job.classifier, job.model_id, found.seen_in, found.auroc, found.p_value,
        )  # fmt: skip


def _found(
    engine: Engine, settings: Settings, job: Job, model: Model, predictor: Predictor, worker: str
) -> Verdict:
    """The test itself. No transaction is open while the model reads."""
    level = settings.scoring.shift_level
    if level == 0:
        return Verdict("untested", "off")
    known = _calibrated(engine, model, predictor.labels)
    if len(known) < PATIENTS_MIN:
        return Verdict("untested", "few_calibration", len(known), level=level)
    waiting, earlier = _night(engine, settings, model)
    asked = [*waiting, *earlier]
    counts = (len(known), len(asked), len(earlier))
    if len(asked) < PATIENTS_MIN:
        return Verdict("untested", "few_reports", *counts, level=level)
    stored = _vectors(engine, settings, job, predictor, worker, [*known, *asked])
    calibration, night = ([stored[at] for at in some if at in stored] for some in (known, asked))
    counts = (len(calibration), len(night), len(earlier))
    if min(len(calibration), len(night)) < PATIENTS_MIN:  # the model fails on some
        return Verdict("untested", "few_reports", *counts, level=level)
    truth = [predictor.labels.index(known[one.report_version_id]) for one in calibration]
    sides = _population(predictor, calibration), np.array(truth, np.int64), _population(predictor, night)
    seen = compare(*sides, settings.seed)
    state: State = "shifted" if seen.p_value < level else "alike"
    return Verdict(state, None, *counts, seen.by, seen.auroc, seen.p_value, level)


def _calibrated(engine: Engine, model: Model, labels: Sequence[str]) -> dict[int, str]:
    """Label by report version of the calibration split, one of a patient."""
    with reading(engine) as c:
        rows = shift.calibration(c, model.snapshot_id)
    label_of = {version: label for version, _, label in rows if label in labels}
    chosen = _one_each([(version, patient) for version, patient, _ in rows if version in label_of])
    return {version: label_of[version] for version in chosen}


def _night(engine: Engine, settings: Settings, model: Model) -> tuple[list[int], list[int]]:
    """Report versions of as many patients: of the job, and where these are few of what came before."""
    sources = settings.classifier(model.classifier).sources
    most = REPORTS_A_PATIENT * PATIENTS_MAX
    with reading(engine) as c:
        waits = shift.waiting(c, model.classifier, model.id, sources, most)
        patients = {patient for _, patient in waits}
        before: Sequence[tuple[int, str]] = ()
        if len(patients) < FILLED_TO:
            since = datetime.now(UTC) - EARLIER
            asked = (model.classifier, model.id, model.encoder_sha, sources, since, most)
            before = shift.earlier(c, *asked, by_student=BY)
    chosen = _one_each(waits)
    earlier = _one_each([one for one in before if one[1] not in patients])
    return chosen, earlier[: max(0, FILLED_TO - len(chosen))]


def _one_each(rows: Iterable[tuple[int, str]]) -> list[int]:
    """One report version of each patient, PATIENTS_MAX at most, in an order of chance that never changes."""
    one_of: dict[str, int] = {}
    for version, patient in sorted(rows, key=lambda row: unit_interval(str(row[0]), "shift")):
        one_of.setdefault(patient, version)
    return list(one_of.values())[:PATIENTS_MAX]


def _vectors(
    engine: Engine, settings: Settings, job: Job, predictor: Predictor, worker: str, versions: Sequence[int]
) -> dict[int, Feature]:
    """What is stored of each version, computed where it is not; one that makes the model fail is left out."""
    with reading(engine) as c:
        known = features.get(c, predictor.encoder_sha, versions)
    missing = [version for version in versions if version not in known]
    for start in range(0, len(missing), TEXTS_A_PAGE):
        with reading(engine) as c:
            texts = reports.texts(c, missing[start : start + TEXTS_A_PAGE])
        made = read(predictor, texts, settings.scoring.batch_tokens)
        with writing(engine) as c:
            erasure.held_off(c)
            # what was removed on request meanwhile leaves no trace
            there = reports.texts(c, list(made.fresh))
            fresh = {version: one for version, one in made.fresh.items() if version in there}
            now = scoring.lease_clock(c)
            features.put(c, predictor.encoder_sha, fresh.values(), now)
            shift.renew(c, job.id, worker, settings.scoring.lease, now)
        known.update(fresh)
    return known


def _population(predictor: Predictor, stored: Sequence[Feature]) -> Population:
    vectors = np.frombuffer(b"".join(one.vector for one in stored), "<f4").reshape(len(stored), -1)
    told = predictor.familiarity
    unknown = None if told is None else scores(told.known, [one.sketch for one in stored])
    return Population(vectors.astype(np.float64), predictor.probabilities(vectors), unknown)
