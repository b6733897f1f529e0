"""Whether a student may answer before a champion: both read calibration reports, and are compared.

Tried for each champion, student, back end and machine (tasks/scoring/cascade.py); what was found is a file. A
student that too little could be proven of is tried again with more patients, and the file counts its tests:
together they may fail as seldom as one alone (tasks.ml.network.cascade.error_of).
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine

from db import reports, snapshots
from db.engine import reading
from db.errors import LaudosError
from db.models import Model
from db.predictions import Scored
from tasks.ml.network.cascade import PAYS_FROM, Choice, choose, error_of, is_sure, too_few_patients
from tasks.ml.network.isolation import PROBE
from tasks.ml.network.predictor import Predictor
from tasks.ml.splits import split_of, unit_interval
from tasks.model_folders import note_use
from tasks.scoring.answering import answers, read
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)

READ_MAX = 10_000  # calibration reports, one a patient
TIMED = 1000  # of these
# so many more patients are worth another trial: where too few were called critical, and where the two were
# compared. That spends error, and a few more prove nothing: the decisions that differed are still among them
MORE_PERCENT, TESTED_MORE_PERCENT = 10, 100


@dataclass(frozen=True)
class Offer:
    """What a trial found: how sure the student must be, how it agreed, and how many times as fast it all is.

    `refused`: why it is not offered; None: it is. `patients`: whose reports were read; `tests`: how often the
    two were compared so far. A file of before these were counted says neither, and is not tried again: one
    test had all of the error.
    """

    student_id: int
    choice: Choice
    times_as_fast: float
    refused: str | None
    patients: int = READ_MAX
    tests: int = 1


_OFFER = TypeAdapter(Offer)


def tried(
    engine: Engine,
    settings: Settings,
    model: Model,
    champion: Predictor,
    student_id: int,
    student: Predictor,
    tests: int,
) -> Offer:
    """Both networks on calibration reports of hospital patients: an offer, or why there is none.

    tests: how often they were compared before. Raises LaudosError where the reports are too few, or a network
    fails on them.
    """
    texts, allowed = calibration(engine, settings, model), error_of(tests + 1)
    if lacking := too_few_patients(len(texts), allowed):
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
    answers_of = [small[at] for at in both], [large[at] for at in both]
    choice = choose(*answers_of, champion.facts.critical, allowed)
    found = Offer(student_id, choice, 1.0, choice.refused, len(texts), tests + choice.tested)
    if choice.refused is not None:
        return found
    left = [
        text
        for at, text in enumerate(texts[:TIMED])
        if at not in small or not is_sure(small[at], choice.confidence)
    ]
    left_s = _read(champion, left, batch_tokens)[1] if left else 0.0
    times = champion_s / (student_s + left_s)
    slow = f"it is {times:.2f} times as fast, and pays from {PAYS_FROM:g}" if times < PAYS_FROM else None
    return replace(found, times_as_fast=times, refused=slow)


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


def calibration(engine: Engine, settings: Settings, model: Model) -> list[str]:
    """Texts of one report of each hospital patient in the calibration split, READ_MAX at most, in an order of
    chance that is always the same. Whether they bear a label does not matter."""
    with reading(engine) as c:
        chosen = heapq.nsmallest(READ_MAX, _one_each(c, settings, model), key=_drawn)
        texts = reports.texts(c, chosen)
    return [texts[version] for version in chosen if version in texts]


def _one_each(c: Connection, settings: Settings, model: Model) -> list[int]:
    """The first current report version of each hospital patient in the calibration split."""
    sources = settings.classifier(model.classifier).sources
    one_each: dict[str, int] = {}
    for version, patient, _ in snapshots.hospital_reports(c, model.snapshot_id, sources):
        if split_of(patient) == "calibration":
            one_each.setdefault(patient, version)
    return list(one_each.values())


def more_may_be_proven(engine: Engine, settings: Settings, model: Model, kept: Offer) -> bool:
    """Whether the student was refused for want of proof, and so many patients came since that it is worth
    another trial. One that is too slow stays refused: more reports make it no faster."""
    then, more = kept.patients, TESTED_MORE_PERCENT if kept.choice.tested else MORE_PERCENT
    if kept.choice.refused is None or then >= READ_MAX:
        return False
    with reading(engine) as c:
        now = len(_one_each(c, settings, model))
    return now >= min(READ_MAX, then + max(1, then * more // 100))


def _drawn(version: int) -> float:
    return unit_interval(str(version), "cascade")


def kept_in(path: Path) -> Offer | None:
    """What was found before; None where no file says so that can be read."""
    note_use(path)
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
