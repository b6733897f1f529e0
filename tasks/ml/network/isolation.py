"""Reading many reports when one of them makes the model fail: that one is found, the rest are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.ml.memory import is_out_of_memory
from tasks.ml.network.features import Encoded, Progress
from tasks.ml.network.predictor import Predictor

# what the model is asked when a report made it fail, to tell a bad report from a broken model
PROBE = "Laudo."
# memory that ran out is the batch's doing until a batch is this small: one window of most encoders
BATCH_TOKENS_MIN = 512


def read_each(
    predictor: Predictor,
    texts: Sequence[str],
    *,
    batch_tokens: int = 8192,
    progress: Progress | None = None,
    passing: tuple[type[Exception], ...] = (),
) -> Encoded:
    """`predictor.vectors`, but a text that makes the model fail gets a vector of NaN and no tokens.

    Found by halving: log2(texts) extra passes for one such text. Where memory ran out, batches of a
    quarter of the tokens are tried before any text is blamed. Exceptions of the types `passing` (a
    progress callback's own) are let through. A model that fails on a harmless word too is broken, and
    its exception is raised: no report is to blame.
    """
    try:
        return predictor.vectors(texts, batch_tokens=batch_tokens, progress=progress)
    except passing:
        raise
    except Exception as error:
        smaller = max(BATCH_TOKENS_MIN, batch_tokens // 4)
        by_batch = is_out_of_memory(error) and smaller < batch_tokens
    # out of the except block: the exception's frames hold the tensors that took the memory
    if by_batch:
        return read_each(predictor, texts, batch_tokens=smaller, progress=progress, passing=passing)
    if len(texts) == 1:
        return _unread(predictor)
    halves = texts[: len(texts) // 2], texts[len(texts) // 2 :]
    return _joined(
        [
            read_each(predictor, half, batch_tokens=batch_tokens, progress=progress, passing=passing)
            for half in halves
        ]
    )


def readable(read: Encoded) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(texts,) whether the text has a vector of finite numbers."""
    return np.asarray(np.isfinite(read.vectors).all(axis=1))


def _unread(predictor: Predictor) -> Encoded:
    predictor.vectors([PROBE])  # raises where the model is what is broken
    nothing = np.zeros(1, np.int64)
    return Encoded(np.full((1, predictor.hidden), np.nan, np.float32), nothing, nothing, nothing, [b""])


def _joined(parts: Sequence[Encoded]) -> Encoded:
    return Encoded(
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.tokens_seen for part in parts]),
        np.concatenate([part.tokens_total for part in parts]),
        np.concatenate([part.windows for part in parts]),
        [sketch for part in parts for sketch in part.sketches],
    )
