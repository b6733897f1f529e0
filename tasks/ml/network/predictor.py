"""A published model that answers: texts in, calibrated probabilities and a decision out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.arrays import Bools, Floats
from tasks.ml.errors import BrokenArtifact, UnfitData, UnfitEncoder
from tasks.ml.network.artifact import LaudosJson, read_facts, verify
from tasks.ml.network.backends import REFERENCE, Backend, batch_tokens_for, bytes_a_number, reader_on
from tasks.ml.network.calibration import Pool
from tasks.ml.network.conformal import Decision, decide
from tasks.ml.network.encoder import encoder_sha, load_classifier
from tasks.ml.network.familiarity import Familiarity
from tasks.ml.network.features import Encoded, Prepared, Progress, Reader, Vectors, encode, prepare
from tasks.ml.network.head import head_of, softmax_of
from tasks.ml.network.linear_reader import LinearReader

# of a review: the labels are not told apart surely enough, or the report is unlike those that taught
Because = Literal["unsure", "unfamiliar"]


@dataclass(frozen=True)
class Prediction:
    """The answer for one report."""

    label: str  # the most probable one
    probabilities: dict[str, float]  # label -> calibrated probability, summing to 1
    decision: Decision  # auto, or review: a person must look
    because: Because | None  # of a review: why; None for auto
    tokens_seen: int
    tokens_total: int  # equal to tokens_seen: reports are read whole
    windows: int


@dataclass(eq=False)
class Ahead:
    """Texts that were prepared before they are asked for, one list of them at most.

    `lock` is held by whoever tokenises: a tokenizer serves one thread at a time.
    """

    texts: list[str] = field(default_factory=list)
    prepared: Prepared | None = None
    lock: Lock = field(default_factory=Lock)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A verified model folder in memory."""

    facts: LaudosJson
    manifest_sha: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    weight: Floats  # (labels, hidden), and beside it (labels, labels) for a linear reader's logits
    bias: Floats  # (labels,)
    familiarity: Familiarity | None  # None: the folder was published before there was one
    beside: LinearReader | None = None  # None: the network answers alone
    backend: Backend = REFERENCE
    reader: Reader | None = None  # of the back end; None: the network as it stands
    ahead: Ahead = field(default_factory=Ahead)  # the same one on every back end

    @classmethod
    def load(cls, folder: Path, manifest_sha: str | None = None) -> Predictor:
        """Verify, then load. Raises BrokenArtifact for anything but the folder as it was published.

        `manifest_sha`: what the database recorded; without it the folder is only held against itself.
        """
        found_sha = verify(folder, manifest_sha)
        facts = read_facts(folder)
        try:
            model, tokenizer = load_classifier(str(folder), local_files_only=True)
        except UnfitEncoder as error:
            raise BrokenArtifact(str(error)) from None
        beside = None if facts.pool is None else LinearReader.load(folder)
        reads = facts.window_tokens, facts.stride_tokens, facts.long_reports, beside
        if encoder_sha(model, tokenizer, *reads) != facts.encoder_sha:
            raise BrokenArtifact(
                f"{folder} reads reports differently from when it was made (another transformers version?): "
                "stored features would not fit it; retrain, or go back to the versions in laudos.json"
            )
        familiarity = None if facts.familiarity is None else Familiarity.load(folder, facts.familiarity)
        head = head_of(model) if facts.pool is None else facts.pool.over(*head_of(model))
        return cls(facts, found_sha, model, tokenizer, *head, familiarity, beside)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.facts.labels

    @property
    def encoder_sha(self) -> str:
        """What stored vectors must have been made with to be fit for this head."""
        return self.facts.encoder_sha

    @property
    def pooled(self) -> tuple[LinearReader, Pool] | None:
        """What answers beside the network, and how far each is trusted; None: the network answers alone."""
        pool = self.facts.pool
        return None if self.beside is None or pool is None else (self.beside, pool)

    @property
    def hidden(self) -> int:
        """Numbers a vector."""
        return int(self.weight.shape[1])

    def on(self, backend: Backend) -> Predictor:
        """The same model on another back end. Raises BackendUnavailable; takes seconds for OpenVINO."""
        reader = None if backend == REFERENCE else reader_on(self.model, backend)
        return replace(self, backend=backend, reader=reader)

    def prepare(self, texts: Sequence[str]) -> None:
        """Make all that needs no network, in whatever thread this is called: `vectors` of the same texts,
        asked for next, finds it made. Raises what windows_of raises."""
        with self.ahead.lock:
            self.ahead.texts, self.ahead.prepared = list(texts), self._made(texts)

    def _taken(self, texts: Sequence[str]) -> Prepared:
        """What was prepared of just these texts, which is then forgotten; else it is made now."""
        ahead = self.ahead
        with ahead.lock:
            taken = ahead.prepared if ahead.texts == list(texts) else None
            ahead.texts, ahead.prepared = [], None
            return taken or self._made(texts)

    def _made(self, texts: Sequence[str]) -> Prepared:
        facts = self.facts
        return prepare(
            self.tokenizer,
            texts,
            window_tokens=facts.window_tokens,
            stride_tokens=facts.stride_tokens,
            long_reports=facts.long_reports,
            beside=self.beside,
        )

    def vectors(
        self, texts: Sequence[str], *, batch_tokens: int = 8192, progress: Progress | None = None
    ) -> Encoded:
        """What the head reads, (texts, hidden): the part that costs."""
        return encode(
            self.model,
            self.tokenizer,
            texts,
            window_tokens=self.facts.window_tokens,
            stride_tokens=self.facts.stride_tokens,
            batch_tokens=batch_tokens,
            progress=progress,
            reader=self.reader,
            on_gpu=self.backend.startswith("cuda"),
            bytes_a_number=bytes_a_number(self.backend),
            long_reports=self.facts.long_reports,
            prepared=self._taken(texts),
        )

    def probabilities(self, vectors: Vectors) -> Floats:
        """Calibrated probabilities (reports, labels). Raises UnfitData for vectors of another encoder."""
        if vectors.ndim != 2 or vectors.shape[1] != self.hidden:
            raise UnfitData(
                f"vectors of shape {vectors.shape} do not fit a head that reads {self.hidden} numbers; "
                "they come from another encoder"
            )
        return softmax_of(self.weight, self.bias, vectors)

    def unfamiliar(self, sketches: Sequence[bytes]) -> Bools:
        """(reports,) which are so unlike the training reports that a person must look."""
        if self.familiarity is None:
            return np.zeros(len(sketches), np.bool_)
        return self.familiarity.unfamiliar(sketches)

    def from_vectors(
        self,
        vectors: Vectors,
        sketches: Sequence[bytes],
        tokens_seen: Sequence[int] | None = None,
        tokens_total: Sequence[int] | None = None,
        windows: Sequence[int] | None = None,
    ) -> list[Prediction]:
        """Predictions from vectors and sketches, stored or fresh; the counts are passed on (0 if absent)."""
        probs = self.probabilities(vectors)
        nothing = [0] * len(probs)
        columns = zip(
            probs,
            decide(probs, self.facts.thresholds) if len(probs) else [],
            self.unfamiliar(sketches),
            tokens_seen if tokens_seen is not None else nothing,
            tokens_total if tokens_total is not None else nothing,
            windows if windows is not None else nothing,
            strict=True,
        )
        return [
            Prediction(
                label=self.labels[int(np.argmax(row))],
                probabilities=dict(zip(self.labels, row.tolist(), strict=True)),
                decision="review" if is_unfamiliar else decision,
                because="unfamiliar" if is_unfamiliar else "unsure" if decision == "review" else None,
                tokens_seen=int(seen),
                tokens_total=int(total),
                windows=int(count),
            )
            for row, decision, is_unfamiliar, seen, total, count in columns
        ]

    def predict(
        self, texts: Sequence[str], *, batch_tokens: int = 8192, progress: Progress | None = None
    ) -> list[Prediction]:
        """Read whole texts and answer, in their order; `progress(windows done, windows)`."""
        tokens = batch_tokens_for(self.backend, batch_tokens)
        read = self.vectors(texts, batch_tokens=tokens, progress=progress)
        return self.from_vectors(
            read.vectors,
            read.sketches,
            read.tokens_seen.tolist(),
            read.tokens_total.tolist(),
            read.windows.tolist(),
        )
