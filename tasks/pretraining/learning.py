"""The learning itself: reports become tokens on disk, a network reads them, with an exam before and after."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Engine

from db.errors import DatabaseFailure
from tasks.ml.network.encoder import EncoderSpec
from tasks.ml.network.features import Progress
from tasks.ml.pretraining.masks import Masks
from tasks.ml.pretraining.next_sentence import Pairs, must_be_a_bert, pair_exam, pairs_in, pairs_of
from tasks.ml.pretraining.pretraining import Spelled, exam, pretrain, pretraining, speller
from tasks.ml.training.token_store import Stored, TokenStore, kept_store, write_store
from tasks.ml.training.training import BodyTraining, TrainLog
from tasks.pretraining.corpus import Corpus, ErasedMeanwhile, exam_texts, owned_texts, require_all
from tasks.progress import progress_bar
from tasks.settings.settings import ClassifierSettings
from tasks.training.train_body import Network, body_training

UNLABELLED = 5_000  # reports, where there are so many: on a processor alone it must be done by morning
LOOK_EVERY_S = 300.0  # whether all reports that teach may still be read


@dataclass(frozen=True)
class Asked:
    """How an encoder is pre-trained. start: None for the classifier's own, else what an `encoder` may be."""

    start: str | None = None
    epochs: float | None = None  # None: 3 where one goes on from a pretrained encoder, 10 from scratch
    unlabelled: int = UNLABELLED
    whole_words: bool = True
    next_sentence: bool = False
    accumulate_batches: int = 1


@dataclass(frozen=True, eq=False)
class Learnt:
    """A network that says which words were left out, and how it came to; pairs: asked, and right."""

    network: Network
    log: TrainLog
    stored: Stored
    whole_words: bool
    exam_reports: int
    before: Spelled
    after: Spelled
    pairs: tuple[int, int] | None


def training_of(wanted: ClassifierSettings, asked: Asked) -> BodyTraining:
    """Window and batch are the classifier's own."""
    found = pretraining(body_training(wanted, 1), scratch=wanted.encoder == "scratch")
    batch = found.batch_windows * asked.accumulate_batches
    return replace(found, epochs=asked.epochs or found.epochs, batch_windows=batch)


def learn(
    engine: Engine,
    corpus: Corpus,
    network: Network,
    spec: EncoderSpec,
    asked: Asked,
    training: BodyTraining,
    seed: int,
    work: Path,
) -> Learnt:
    """Pre-train on the corpus; what a killed run left in `work` is taken up, and no token stays there.

    Raises ErasedMeanwhile, and nothing of what was learnt stays, either.
    """
    body, tokenizer = network
    if asked.next_sentence:
        must_be_a_bert(body)
    made = speller(body, spec, seed, next_sentence=asked.next_sentence)
    masks, window = Masks(tokenizer, seed, whole_words=asked.whole_words), training.window_tokens
    questions, tokens = exam_texts(engine, corpus), work / "tokens"
    before = exam(made, tokenizer, questions, masks, window)
    parts = pairs_of(questions, tokenizer, masks, window) if asked.next_sentence else None
    if parts is not None:
        pair_exam(made, parts)  # where nothing can be asked of them, that is told before anything is learnt
    try:
        store = kept_store(tokens) or _stored(engine, corpus, network, training, tokens)
        pairs: Pairs | None = pairs_in(store, tokenizer, masks, window) if asked.next_sentence else None
        with progress_bar("pre-training the network") as progress:
            log = pretrain(
                made, tokenizer, store, masks, config=training, checkpoint_folder=work, seed=seed,
                batch_of=pairs.batch if pairs else None, progress=_watched(engine, corpus, progress),
            )  # fmt: skip
        require_all(engine, corpus)
    except ErasedMeanwhile:
        shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        # a kill leaves them: the next run goes on with them, or the retention rules remove them
        shutil.rmtree(tokens, ignore_errors=True)
    after = exam(made, tokenizer, questions, masks, window)
    known = None if parts is None else pair_exam(made, parts)
    told = masks.whole_words, len(questions), before, after, known
    return Learnt((made.cpu(), tokenizer), log, store.stored, *told)


def _watched(engine: Engine, corpus: Corpus, progress: Progress) -> Progress:
    """The progress, which every now and then looks whether a report was erased."""
    due = time.monotonic() + LOOK_EVERY_S

    def told(steps: int, of: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            # a database that is away is asked again, and at the end it must answer
            with suppress(DatabaseFailure):
                require_all(engine, corpus)
            due = time.monotonic() + LOOK_EVERY_S
        progress(steps, of)

    return told


def _stored(
    engine: Engine, corpus: Corpus, network: Network, training: BodyTraining, folder: Path
) -> TokenStore:
    def pages() -> Iterator[list[str]]:
        done = 0
        for page in owned_texts(engine, corpus):
            yield [text for _, text in page]
            done += len(page)
            progress(done, len(corpus.taught))

    with progress_bar("tokenising the reports") as progress:
        return write_store(folder, pages(), network[1], training.window_tokens)
