"""What is computed for a chunk: texts become features, features become predictions. No SQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from db.errors import LaudosError
from db.features import Feature
from db.predictions import Scored
from tasks.ml.network.backends import batch_tokens_for
from tasks.ml.network.isolation import read_each, readable
from tasks.ml.network.predictor import Predictor

Beat = Callable[[int, int], None]


@dataclass(frozen=True)
class Read:
    """What the encoder made of texts: features by version, and the versions that make the model fail.

    `encoded` texts went through the encoder; the rest of `fresh` has the very text of one of them.
    """

    fresh: dict[int, Feature]
    failed: list[int]
    encoded: int


def read(predictor: Predictor, texts: Mapping[int, str], batch_tokens: int, beat: Beat | None = None) -> Read:
    """Encode texts by version, each different one once: hospitals write many a normal finding alike."""
    if not texts:
        return Read({}, [], 0)
    place = {text: at for at, text in enumerate(different(texts))}
    tokens = batch_tokens_for(predictor.backend, batch_tokens)
    told = read_each(predictor, list(place), batch_tokens=tokens, progress=beat, passing=(LaudosError,))
    fine = readable(told)
    vectors = [vector.tobytes() for vector in told.vectors.astype("<f4")]
    fresh = {
        version: Feature(
            version, vectors[at], int(told.tokens_seen[at]), int(told.tokens_total[at]), told.sketches[at]
        )
        for version, at in ((version, place[text]) for version, text in texts.items())
        if fine[at]
    }
    return Read(fresh, [version for version in texts if version not in fresh], int(fine.sum()))


def different(texts: Mapping[int, str]) -> list[str]:
    """Each text once, in the order of their versions: what the encoder is given."""
    return list(dict.fromkeys(texts.values()))


def answers(predictor: Predictor, known: Collection[Feature]) -> list[Scored]:
    """The head on features, in the order of their versions."""
    if not known:
        return []
    rows = sorted(known, key=lambda one: one.report_version_id)
    vectors = np.frombuffer(b"".join(row.vector for row in rows), "<f4").reshape(len(rows), -1)
    told = predictor.from_vectors(
        vectors,
        [row.sketch for row in rows],
        [row.tokens_seen for row in rows],
        [row.tokens_total for row in rows],
    )
    return [
        Scored(
            report_version_id=row.report_version_id,
            label=answer.label,
            probabilities=answer.probabilities,
            decision=answer.decision,
            tokens_seen=answer.tokens_seen,
            tokens_total=answer.tokens_total,
            review_because=answer.because,
        )
        for row, answer in zip(rows, told, strict=True)
    ]
