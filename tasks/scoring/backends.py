"""Which back end reads a backlog: tried once a model and machine, admitted only where it answers alike.

Full precision gives the vectors of torch-fp32, added up in another order: `auto` takes the fastest of these.
Reduced precision gives others: only a person chooses it (`scoring.backend`), and its vectors are not stored,
for a later head would be fitted on vectors of one kind and read those of another.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from sqlalchemy import Engine

from db.errors import LaudosError, NothingToWorkOn
from db.features import Feature
from db.models import Model
from tasks.ml.errors import BackendUnavailable
from tasks.ml.memory import is_out_of_memory
from tasks.ml.network.backends import (
    BACKENDS,
    REFERENCE,
    Backend,
    Fidelity,
    compare,
    is_full_precision,
    machine,
    why_not,
)
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import note_use, trials_folder, write_atomically
from tasks.scoring.answering import Beat, Read, read
from tasks.settings.settings import Settings
from tasks.training.learning_data import Part, read_part

log = logging.getLogger(__name__)

REPORTS_TRIED = 1000  # of the calibration split: one decision in a thousand shows
# raise when a trial would find something else: what older ones found is tried anew
TRIAL_REVISION = 3
NO_MEMORY = "it found too little memory; it is tried again"  # and not kept: another program may have had it
WORTH_TRYING = 20_000  # reports: fewer are read in about the time that the trial takes


@dataclass(frozen=True)
class Trial:
    """One back end with one model on this machine. `refused`: why it may not answer; None: admitted."""

    backend: Backend
    refused: str | None
    start_s: float = 0.0
    reports_per_s: float = 0.0
    fidelity: Fidelity | None = None

    def seconds(self, reports: int) -> float:
        """What so many reports would take."""
        return self.start_s + reports / self.reports_per_s


_TRIALS = TypeAdapter(list[Trial])


def on_its_backend(
    engine: Engine, settings: Settings, model: Model, predictor: Predictor, reports: int
) -> Predictor:
    """The predictor on the back end that `scoring.backend` asks for, or that reads so many reports soonest.

    Raises NothingToWorkOn where the one asked for cannot run here or is not admitted for the model.
    """
    asked = settings.scoring.backend
    if asked == "auto":
        soonest = _soonest(engine, settings, model, predictor, reports)
        try:
            return predictor.on(soonest)
        except Exception as error:
            # such as a GPU whose memory another program has taken since it was tried
            log.warning("%s cannot be set up (%s): %s answers", soonest, type(error).__name__, REFERENCE)
            return predictor
    if asked == REFERENCE:
        return predictor
    found = trials(engine, settings, model, predictor, [asked])
    (mine,) = (one for one in found if one.backend == asked)
    if mine.refused is not None:
        raise NothingToWorkOn(
            f"scoring.backend is {asked!r}, and it may not answer for model {model.id}: {mine.refused}. "
            'Set it to "auto", or to "torch-fp32"'
        )
    return predictor.on(asked)


def read_on_it(
    settings: Settings, predictor: Predictor, texts: Mapping[int, str], beat: Beat | None = None
) -> tuple[Predictor, Read]:
    """Texts by version as `read` reads them, and the predictor that did.

    A back end that `auto` chose and that fails on whatever it is asked leaves them to the reference, whose
    vectors are of the same kind. Raises what the network itself raises, and what `beat` does.
    """
    tokens = settings.scoring.batch_tokens
    try:
        return predictor, read(predictor, texts, tokens, beat)
    except LaudosError:
        raise
    except Exception as error:
        if settings.scoring.backend != "auto" or predictor.backend == REFERENCE:
            raise
        # its words may quote what it was given
        log.warning("%s fails (%s): %s reads instead", predictor.backend, type(error).__name__, REFERENCE)
    # out of the except block: the exception's frames hold what took the memory
    reference = predictor.on(REFERENCE)
    return reference, read(reference, texts, tokens, beat)


def trials(
    engine: Engine,
    settings: Settings,
    model: Model,
    predictor: Predictor,
    asked: Sequence[Backend] = BACKENDS,
) -> list[Trial]:
    """The reference and those asked for, each tried on calibration reports unless it was on this machine."""
    path = _kept_in(settings, model)
    note_use(path)
    kept = _kept(path)
    wanted = dict.fromkeys((REFERENCE, *asked))
    if missing := [one for one in wanted if one not in kept]:
        # an erasure must not end the nights of whoever asks for a back end: what is left tells as much
        left = read_part(engine, model.snapshot_id, "calibration", predictor.labels, whole=False)
        part = left.first(REPORTS_TRIED)
        if not part.ids:
            raise NothingToWorkOn(
                f"model {model.id} has no calibration report left to try back ends on: torch-fp32 answers"
            )
        again = dict.fromkeys((REFERENCE, *missing))
        tokens = settings.scoring.batch_tokens
        kept |= {one.backend: one for one in _tried(predictor, part, again, tokens)}
        lasting = [asdict(one) for one in kept.values() if one.refused != NO_MEMORY]
        content = {"revision": TRIAL_REVISION, "machine": machine(), "trials": lasting}
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
    return [kept[one] for one in wanted]


def _tried(predictor: Predictor, part: Part, wanted: Iterable[Backend], batch_tokens: int) -> list[Trial]:
    """Each back end on the same reports, the reference first, read as a backlog is.

    A report that makes the reference fail says nothing of another: scoring puts it in quarantine.
    Raises NothingToWorkOn where it can read none.
    """
    texts = dict(zip(part.ids, part.texts, strict=True))
    reference = read(predictor, texts, batch_tokens).fresh
    found = []
    for backend in wanted:
        if refused := why_not(backend):
            found.append(Trial(backend, refused))
            continue
        begun = time.perf_counter()
        try:
            ours = predictor.on(backend)
            start_s, begun = time.perf_counter() - begun, time.perf_counter()
            fresh = read(ours, texts, batch_tokens).fresh
        except BackendUnavailable as error:
            found.append(Trial(backend, str(error)))
            continue
        except Exception as error:
            # its words may quote what it was given
            fails = f"it fails on reports that torch-fp32 reads ({type(error).__name__})"
            found.append(Trial(backend, NO_MEMORY if is_out_of_memory(error) else fails))
            continue
        reports_per_s = len(part.ids) / (time.perf_counter() - begun)
        if unread := len(reference.keys() - fresh.keys()):
            fails = f"it fails on {unread:,} of {len(reference):,} reports that torch-fp32 reads"
            found.append(Trial(backend, fails, start_s, reports_per_s))
            continue
        alike = _beside(predictor, part, reference, fresh)
        found.append(Trial(backend, alike.refusal(backend), start_s, reports_per_s, alike))
    return found


def _beside(
    predictor: Predictor, part: Part, reference: Mapping[int, Feature], fresh: Mapping[int, Feature]
) -> Fidelity:
    """How the head answers what a back end made of the reports that the reference reads, too."""
    both = [(at, truth) for at, truth in zip(part.ids, part.labels_idx, strict=True) if at in reference]
    if not both:
        raise NothingToWorkOn("the model fails on every calibration report: torch-fp32 answers")
    before, after = (
        predictor.probabilities(np.stack([np.frombuffer(made[at].vector, "<f4") for at, _ in both]))
        for made in (reference, fresh)
    )
    facts = predictor.facts
    truth = np.array([truth for _, truth in both], np.int64)
    return compare(before, after, truth, facts.labels.index(facts.critical), facts.thresholds)


def _soonest(engine: Engine, settings: Settings, model: Model, predictor: Predictor, reports: int) -> Backend:
    """Of full precision. Whatever is in the way of trying others leaves the reference."""
    others = _others()
    if reports < WORTH_TRYING or not others:
        return REFERENCE
    try:
        found = trials(engine, settings, model, predictor, others)
    except LaudosError as nothing_to_try_on:
        log.warning("no other back end was tried: %s", nothing_to_try_on)
        return REFERENCE
    except Exception as error:
        # such as a folder that cannot be written; its words may quote what it was given
        log.warning("no other back end could be tried (%s): %s answers", type(error).__name__, REFERENCE)
        return REFERENCE
    admitted = [one for one in found if one.refused is None and is_full_precision(one.backend)]
    # none where the reference itself found too little memory
    soonest = min(admitted, key=lambda one: one.seconds(reports), default=None)
    return REFERENCE if soonest is None else soonest.backend


def _others() -> list[Backend]:
    """What `auto` may take beside the reference."""
    full = [one for one in BACKENDS if is_full_precision(one) and one != REFERENCE]
    return [one for one in full if why_not(one) is None]


def _kept_in(settings: Settings, model: Model) -> Path:
    """One file a model and machine: several machines may share the folder."""
    here = hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()
    return trials_folder(settings) / f"{model.manifest_sha[:16]}-{here[:8]}.json"


def _kept(path: Path) -> dict[str, Trial]:
    """What was found on this machine before, by back end; nothing where no file says so that can be read."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["revision"] != TRIAL_REVISION:
            raise ValueError("of another laudos")
        kept = _TRIALS.validate_python(told["trials"])
        if any(one.refused is None and not one.reports_per_s > 0 for one in kept):
            raise ValueError("one that was admitted reads nothing")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning(
            "%s was written by another laudos or is damaged (%s): back ends are tried anew",
            path.name, type(error).__name__,
        )  # fmt: skip
        return {}
    return {one.backend: one for one in kept}
