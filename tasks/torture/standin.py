"""A model for torture: as fast as a hash, the same for the same text; all else of it is the real one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from tasks.ml.network.artifact import read_facts, verify
from tasks.ml.network.familiarity import sketches_of
from tasks.ml.network.features import Encoded, Progress
from tasks.ml.network.predictor import Predictor

TEXTS_A_BEAT = 64


class StandIn(Predictor):
    """A published folder of which only the manifest and laudos.json are read: no network is loaded.

    Its probabilities, decisions and labels come from the real Predictor, on vectors made of hashes.
    """

    @classmethod
    def load(cls, folder: Path, manifest_sha: str | None = None) -> StandIn:
        """As `Predictor.load`. Raises BrokenArtifact."""
        found_sha, facts = verify(folder, manifest_sha), read_facts(folder)
        rng = np.random.default_rng(int(found_sha[:8], 16))
        # as wide as the real one's, whose stored vectors lie beside this one's
        hidden = int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"])
        hidden += 0 if facts.pool is None else len(facts.labels)
        weight = rng.normal(0, 1, (len(facts.labels), hidden))
        nothing = cast(Any, None)
        return cls(facts, found_sha, nothing, nothing, weight, np.zeros(len(facts.labels)), None)

    def prepare(self, texts: Sequence[str]) -> None:
        """Nothing: it has no tokenizer."""

    def vectors(
        self, texts: Sequence[str], *, batch_tokens: int = 8192, progress: Progress | None = None
    ) -> Encoded:
        """(texts, hidden) numbers between -1 and 1; a token is a word."""
        digests = []
        for done, text in enumerate(texts, start=1):
            digests.append(hashlib.shake_256(text.encode()).digest(4 * self.hidden))
            if progress is not None and done % TEXTS_A_BEAT == 0:
                progress(done, len(texts))
        whole = np.frombuffer(b"".join(digests), "<u4").reshape(len(texts), self.hidden)
        tokens = np.array([len(text.split()) for text in texts], np.int64)
        vectors = (whole / 2**31 - 1).astype(np.float32)
        return Encoded(vectors, tokens, tokens, np.ones(len(texts), np.int64), sketches_of(texts))
