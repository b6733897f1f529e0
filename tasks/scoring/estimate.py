"""`laudos estimate`: what scoring the backlog will take, before it starts.

    seconds = start + what one worker reads for the test for a shift, while the others wait
                    + (other texts to encode: tried on a sample of all lengths
                       + reports to read, answer and write: rehearsed on one chunk) / workers

The rehearsal writes what a worker would write, and takes it back before anybody can see it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np
from sqlalchemy import Connection, Engine

from db import backlog, features, scoring, status
from db import forecast as tables
from db.cutting import levels
from db.engine import reading, rehearsing
from db.features import Feature
from db.forecast import Backlog, Waiting
from db.models import Model
from db.predictions import Scored
from tasks.classifiers import the_champion, the_classifier
from tasks.database import open_database
from tasks.ml.forecast import Forecast, Reading, forecast, groups
from tasks.ml.memory import peak_mib
from tasks.ml.network.backends import is_full_precision
from tasks.ml.network.isolation import PROBE
from tasks.ml.network.predictor import Predictor
from tasks.scoring.answering import answers, read
from tasks.scoring.backends import on_its_backend
from tasks.scoring.cascade import Student, student_of
from tasks.scoring.scorer import load_predictor
from tasks.scoring.shift import reads_first
from tasks.settings.settings import Settings

SAMPLE_TEXTS = 20_000  # whose lengths are looked at
GROUP_TEXTS = 32  # about a batch
GROUPS_MIN = 6  # fewer say too little of how much they differ


@dataclass(frozen=True)
class Plan:
    """So many machines like this one, a worker each: how long, with a 95 % interval, and what they cost."""

    workers: int
    seconds: float
    seconds_low: float | None
    seconds_high: float | None
    cost: float | None


@dataclass(frozen=True)
class Estimate:
    """What scoring a classifier's backlog with its champion will take.

    `reports` wait: `to_encode` texts go through the encoder, `identical` reports have the text of one of
    them, `from_features` need only a matrix product. `tokens` are those to encode. `start_s`, `encode_s`
    and `rest_s` (reading, answering, writing) are one worker's; `test_s` is what one reads alone, to test for
    a shift, most of it a part of `encode_s`; `memory_mib` is the most this process had, as one that scores.
    `writing_tried`: False where others score this backlog now, and writing is left out.
    """

    classifier: str
    model_id: int
    reports: int
    to_encode: int
    identical: int
    from_features: int
    tokens: int
    start_s: float
    encode_s: float
    rest_s: float
    test_s: float
    memory_mib: float
    plan: Plan
    one_more: Plan
    saved_by_one_more_s: float
    tried_texts: int
    tried_s: float
    writing_tried: bool


def estimate(
    settings: Settings,
    classifier: str | None = None,
    *,
    sample_s: float = 15.0,
    price_per_hour: float | None = None,
    workers: int = 1,
) -> Estimate:
    """Encode a sample for about `sample_s` seconds, and scale it up; no table changes.

    Raises NothingToWorkOn without a champion, LaudosError for one that cannot be used.
    """
    began = time.perf_counter()
    name, engine = the_classifier(settings, classifier), open_database(settings)
    with reading(engine) as c:
        champion = the_champion(c, name)
        asked = as_cut(c, settings, name, champion.model)
        waits = tables.waiting(c, asked)
    tried = (
        _Trial(engine, settings, name, champion.model, asked, waits).run(sample_s)
        if waits.reports
        else _Tried(0.0, forecast([], 0), 0.0, 0, writing=False)
    )
    largest = min(1.0, asked.chunks[0].reports / waits.reports) if waits.reports else 0.0
    plan, one_more = (_plan(tried, hands, largest, price_per_hour) for hands in (workers, workers + 1))
    return Estimate(
        classifier=name,
        model_id=champion.model.id,
        reports=waits.reports,
        to_encode=waits.texts,
        identical=waits.reports - waits.known - waits.texts,
        from_features=waits.known,
        tokens=round(tried.encode.tokens),
        start_s=tried.start_s,
        encode_s=tried.encode.seconds,
        rest_s=tried.rest_s,
        test_s=tried.test_s,
        memory_mib=peak_mib(),
        plan=plan,
        one_more=one_more,
        saved_by_one_more_s=plan.seconds - one_more.seconds,
        tried_texts=tried.texts,
        tried_s=time.perf_counter() - began,
        writing_tried=tried.writing,
    )


def as_cut(c: Connection, settings: Settings, classifier: str, model: Model) -> Backlog:
    """The backlog, in the chunks that `laudos classify` would cut it into."""
    sources, cutting = settings.classifier(classifier).sources, settings.scoring
    reports = backlog.count(c, model.id, sources)
    chunks = levels(reports, cutting.chunk_reports_min, cutting.chunk_reports_max)
    # at reduced precision every text is read again: under no encoder's name lies a vector for it
    stored = settings.scoring.backend == "auto" or is_full_precision(settings.scoring.backend)
    return Backlog(model.id, model.encoder_sha if stored else "", sources, reports, chunks)


@dataclass(frozen=True)
class _Tried:
    """What trying taught of one worker; `texts` were encoded.

    `test_s`: it reads so long for the test for a shift, of which `spared_s` are then off the backlog.
    """

    start_s: float
    encode: Forecast
    rest_s: float
    texts: int
    writing: bool
    test_s: float = 0.0
    spared_s: float = 0.0


@dataclass(frozen=True)
class _Trial:
    """Everything a worker does, on a little of its backlog, timed."""

    engine: Engine
    settings: Settings
    classifier: str
    model: Model
    asked: Backlog
    waits: Waiting

    def run(self, sample_s: float) -> _Tried:
        began = time.perf_counter()
        loaded = load_predictor(self.engine, self.settings, self.classifier, self.model)
        loaded_s = time.perf_counter() - began
        # a trial of back ends or of a student that is due is made here, and kept: scoring makes it no more
        self._set_up(loaded)
        began = time.perf_counter()
        predictor, student = self._set_up(loaded)
        start_s = loaded_s + time.perf_counter() - began
        encode, made = self._encode(predictor, student, sample_s)
        with reading(self.engine) as c:
            jobs = status.jobs(c, scoring.lease_clock(c), unfinished=True, classifier=self.classifier)
        test_s, spared_s = 0.0, 0.0
        if encode.seconds and all(job.population == "due" for job in jobs):
            waiting, others = reads_first(self.engine, self.settings, self.model, predictor.labels)
            waiting = min(waiting, self.waits.texts)  # identical texts are read once
            text_s = encode.seconds / self.waits.texts
            test_s = text_s * (waiting + others)
            spared_s = text_s * waiting if is_full_precision(predictor.backend) else 0.0
        rest_s, writing = self._rest(predictor, made, at_work=any(job.workers for job in jobs))
        return _Tried(start_s, encode, rest_s, len(made), writing, test_s, spared_s)

    def _set_up(self, loaded: Predictor) -> tuple[Predictor, Student | None]:
        """Ready to read, on the back end that will, with the student that answers first."""
        asked = (self.engine, self.settings, self.model)
        predictor = on_its_backend(*asked, loaded, self.waits.reports)
        student = student_of(*asked, predictor, self.waits.reports)
        predictor.vectors([PROBE])
        return predictor, student

    def _encode(
        self, predictor: Predictor, student: Student | None, sample_s: float
    ) -> tuple[Forecast, list[Feature | Scored]]:
        """The encoding of all texts, and what was made of the sample: vectors, or a student's answers."""
        with reading(self.engine) as c:
            sample = tables.sample(c, self.asked, self.waits.texts, SAMPLE_TEXTS)
        versions, characters = list(sample), np.array(list(sample.values()), np.int64)
        new = self.waits.texts / self.waits.reports
        chunk_texts = max(1, round(new * self.asked.chunks[0].reports))
        made: list[Feature | Scored] = []
        readings: list[Reading] = []
        began = time.perf_counter()
        # the same backlog gives the same sample, so that two estimates may be compared
        for group in groups(characters, chunk_texts, GROUP_TEXTS, np.random.default_rng(0)):
            if len(readings) >= GROUPS_MIN and time.perf_counter() - began > sample_s:
                break
            of_group = [versions[at] for at in group]
            with reading(self.engine) as c:
                texts = dict(zip(of_group, tables.texts(c, of_group), strict=True))
            before = time.perf_counter()
            sure = {} if student is None else student.sure(texts, self.settings.scoring.batch_tokens)
            left = {version: text for version, text in texts.items() if version not in sure}
            fresh = read(predictor, left, self.settings.scoring.batch_tokens).fresh
            took_s = time.perf_counter() - before
            tokens = sum(one.tokens_seen for one in sure.values())
            tokens += sum(one.tokens_seen for one in fresh.values())
            readings.append(Reading(len(group), int(characters[group].sum()), tokens, took_s))
            made += [*sure.values(), *fresh.values()]
        mean = float(characters.mean()) if len(characters) else 0.0
        return forecast(readings, mean * self.waits.texts), made

    def _rest(
        self, predictor: Predictor, made: Sequence[Feature | Scored], *, at_work: bool
    ) -> tuple[float, bool]:
        """Reading, answering and writing of all reports; and whether writing was tried.

        What a student answered is written as it is: its share of the sample is its share of the chunk.
        Nothing is tried where others have scored everything meanwhile.
        """
        with reading(self.engine) as c:
            # of what waits now: others may have scored any chunk meanwhile
            ends = tables.large_chunk(c, as_cut(c, self.settings, self.classifier, self.model))
        began = time.perf_counter()
        with reading(self.engine) as c:
            texts = backlog.texts(c, self.asked.model_id, self.asked.sources, *ends) if ends else {}
            known = features.get(c, self.asked.encoder_sha, list(texts))
        if not texts:
            return 0.0, False
        alike = made or list(known.values())
        missing = [version for version in texts if version not in known] if alike else []
        like = [replace(one, report_version_id=to) for to, one in zip(missing, cycle(alike), strict=False)]
        fresh = [one for one in like if isinstance(one, Feature)]
        sure = [one for one in like if isinstance(one, Scored)]
        predictions = [*answers(predictor, [*known.values(), *fresh]), *sure]
        # a worker that holds rows of this chunk would be waited for, and then refuse ours
        if not at_work:
            with rehearsing(self.engine) as c:
                now = scoring.lease_clock(c)
                tables.rehearse(c, self.asked, self.classifier, self.model.run_id, predictions, fresh, now)
        took_s = time.perf_counter() - began
        return took_s * self.waits.reports / len(texts), not at_work


def _plan(tried: _Tried, workers: int, largest: float, price_per_hour: float | None) -> Plan:
    """`largest`: the share of all reports that the largest chunk holds, which one worker reads."""
    share = max(1 / workers, largest)
    encode_s = tried.test_s + (tried.encode.seconds - tried.spared_s) * share
    seconds = tried.start_s + encode_s + tried.rest_s * share
    half_s = tried.encode.half_s and tried.encode.half_s * encode_s / tried.encode.seconds
    cost = None if price_per_hour is None else price_per_hour * workers * seconds / 3600
    low, high = (None, None) if half_s is None else (max(0.0, seconds - half_s), seconds + half_s)
    return Plan(workers, seconds, low, high, cost)
