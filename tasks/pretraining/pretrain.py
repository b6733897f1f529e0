"""An encoder that has read the hospital's own reports: pre-trained, published, and held against its start."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, tee
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db.engine import writing
from tasks.database import open_database
from tasks.ml.network.encoder import EncoderSpec, check_window, encoder_sha, load_encoder, make_scratch
from tasks.ml.network.own_encoder import publish_encoder
from tasks.ml.network.published import pretraining_facts
from tasks.model_folders import pretrained_folder, pretraining_of
from tasks.pretraining.corpus import Corpus, draw_corpus, owned_texts, remember, remembered
from tasks.pretraining.gain import must_be_judgeable
from tasks.pretraining.learning import Asked, Learnt, learn, training_of
from tasks.pretraining.record import record
from tasks.settings.encoder import with_encoder
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.training.fitting import PACKAGES
from tasks.training.train_body import Network, crowded, encoder_spec

# raise when the same reports and settings would give another encoder
PRETRAINING_REVISION = 2


@dataclass(frozen=True)
class PretrainedEncoder:
    """What was made: a folder below <folder>/pretrained, from so many reports; `reused`: it was there.

    Perplexities are of the exam, on patients of the calibration split.
    """

    name: str
    folder: str
    start: str
    labelled: int
    unlabelled: int
    patients: int
    windows: int
    tokens: int
    steps: int
    exam_reports: int
    perplexity_before: float
    perplexity_after: float
    reused: bool
    notes: tuple[str, ...] = ()


@step("pretrain", run_name="pretrain for {classifier} on snapshot {snapshot_id}")
def pretrain_encoder(run_id: int, classifier: str, snapshot_id: int, asked: Asked) -> PretrainedEncoder:
    """Read, learn, publish; the same start on the same reports is reused."""
    settings = Settings.load()
    return make_encoder(
        open_database(settings), settings, run_id, classifier, snapshot_id, asked, datetime.now(UTC)
    )


def make_encoder(
    engine: Engine,
    settings: Settings,
    run_id: int,
    classifier: str,
    snapshot_id: int,
    asked: Asked,
    now: datetime,
) -> PretrainedEncoder:
    """`pretrain_encoder`, with who asks and when. What a killed run left is taken up."""
    must_be_judgeable(engine, snapshot_id)
    wanted = starting(settings, classifier, asked.start)
    # attention over a report comes after what is pre-trained, and is learnt with the labels
    spec = replace(encoder_spec(wanted, settings), attention=False, sentences=False)
    start = None if spec.kind == "scratch" else load_encoder(spec, wanted.labels, seed=settings.seed)
    if start is not None:
        check_window(start[0], wanted.training.window_tokens)
    config = _config(settings, wanted, spec, start, asked)
    work = pretraining_of(settings, classifier) / _sha(config)[:12]
    _forget_other_tokens(work)
    corpus = _corpus(engine, snapshot_id, wanted, asked, work / "corpus.json")
    config |= {"corpus_sha": corpus.sha}
    name = f"{classifier}-{_sha(config)[:12]}"
    target = pretrained_folder(settings) / name
    if target.exists():
        shutil.rmtree(work, ignore_errors=True)
        known = pretraining_facts(target)
        _record(engine, name, known, now)  # which a kill may have kept from being written
        return _told(settings, name, known, reused=True)
    network = start or _from_scratch(engine, settings, wanted, spec, corpus)
    training = training_of(wanted, asked)
    learnt = learn(engine, corpus, network, spec, asked, training, settings.seed, work)
    facts = _facts(config, corpus, learnt, run_id, now)
    publish_encoder(target, learnt.network[0], *network, facts)
    _record(engine, name, facts, now)
    shutil.rmtree(work.parent, ignore_errors=True)
    log = learnt.log
    notes: tuple[str, ...] = ()
    if 0 < log.resumed_from_step < log.steps:
        notes += (
            f"a pre-training that was interrupted went on at step {log.resumed_from_step} of {log.steps}",
        )
    return replace(
        _told(settings, name, facts, reused=False), notes=notes + crowded(training.batch_tokens, log)
    )


def starting(settings: Settings, classifier: str, start: str | None) -> ClassifierSettings:
    """The classifier as if its encoder were `start`, a relative path being one from here.

    Raises ConfigurationError for what is no encoder.
    """
    asked = settings.classifier(classifier)
    if start is None:
        return asked
    named = asked.model_copy(update={"encoder": start, "revision": None})
    return with_encoder(classifier, named, Path.cwd(), settings.folder)


def _config(
    settings: Settings,
    wanted: ClassifierSettings,
    spec: EncoderSpec,
    start: Network | None,
    asked: Asked,
) -> dict[str, Any]:
    """Everything that decides what comes out, but for the reports."""
    training = training_of(wanted, asked)
    return {
        # without what makes no difference to it: its name stays that of before there was a choice
        "start": {name: value for name, value in asdict(spec).items() if name != "sentences"},
        "start_sha": None if start is None else encoder_sha(*start, training.window_tokens, 0),
        "sources": wanted.sources,
        "unlabelled": asked.unlabelled,
        "training": asdict(training),
        "whole_words": asked.whole_words,
        "next_sentence": asked.next_sentence,
        "seed": settings.seed,
        "pretraining_revision": PRETRAINING_REVISION,
    }


def _sha(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _from_scratch(
    engine: Engine, settings: Settings, wanted: ClassifierSettings, spec: EncoderSpec, corpus: Corpus
) -> Network:
    """A network as retraining makes one; its vocabulary is that of the reports that will teach it."""
    one, two = tee(chain.from_iterable(owned_texts(engine, corpus)))
    return make_scratch(
        (text for _, text in one),
        wanted.labels,
        spec,
        settings.seed,
        patients=(patient for patient, _ in two),
    )


def _corpus(engine: Engine, snapshot_id: int, wanted: ClassifierSettings, asked: Asked, file: Path) -> Corpus:
    """The reports that a killed run was reading, else those that there are now."""
    corpus = remembered(engine, snapshot_id, wanted.sources, file)
    if corpus is None:
        corpus = draw_corpus(engine, snapshot_id, wanted.sources, asked.unlabelled)
        # token ids of other reports, which some of these may be no longer
        shutil.rmtree(file.parent, ignore_errors=True)
        remember(corpus, file)
    return corpus


def _forget_other_tokens(work: Path) -> None:
    """What other pre-trainings of this classifier left of the reports, should they have been killed."""
    for tokens in work.parent.glob("*/tokens"):
        if tokens.parent != work:
            shutil.rmtree(tokens)


def _facts(
    config: dict[str, Any], corpus: Corpus, learnt: Learnt, run_id: int, now: datetime
) -> dict[str, Any]:
    """Content of pretraining.json: counts, settings and figures."""
    before, after = (asdict(one) | {"perplexity": one.perplexity} for one in (learnt.before, learnt.after))
    return {
        "format": 1,
        "made_at": now.isoformat(),
        "run": run_id,
        "config": config,
        "reports": {
            "labelled": corpus.labelled,
            "unlabelled": corpus.unlabelled,
            "patients": corpus.patients,
        },
        "read": asdict(learnt.stored),
        "asked": "whole words" if learnt.whole_words else "pieces of words",
        "steps": learnt.log.steps,
        "precision": learnt.log.precision,
        "losses": [list(point) for point in learnt.log.losses],
        "exam": {"reports": learnt.exam_reports, "before": before, "after": after},
        "pairs": None if learnt.pairs is None else dict(zip(("asked", "right"), learnt.pairs, strict=True)),
        "versions": {package: version(package) for package in PACKAGES},
    }


def _told(settings: Settings, name: str, facts: dict[str, Any], *, reused: bool) -> PretrainedEncoder:
    start = facts["config"]["start"]
    return PretrainedEncoder(
        name=name,
        folder=str(pretrained_folder(settings) / name),
        start=start["name"] or start["kind"],
        **facts["reports"],
        windows=facts["read"]["windows"],
        tokens=facts["read"]["tokens"],
        steps=facts["steps"],
        exam_reports=facts["exam"]["reports"],
        perplexity_before=facts["exam"]["before"]["perplexity"],
        perplexity_after=facts["exam"]["after"]["perplexity"],
        reused=reused,
        notes=("the same start was pre-trained on the same reports before",) if reused else (),
    )


def _record(engine: Engine, name: str, facts: dict[str, Any], now: datetime) -> None:
    with writing(engine) as c:
        record(c, name, facts, now)
