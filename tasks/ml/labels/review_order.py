"""In which order reports teach the most, where a person can label only some of them.

A report is asked for where the model wavers between two labels, and where nothing like it was asked before:
the margin between the two most probable labels (Scheffer, Decomain & Wrobel 2001, "Active hidden Markov
models for information extraction") and the distance to what was chosen (k-centre greedy: Sener & Savarese
2018, "Active learning for convolutional neural networks: a core-set approach", arXiv:1708.00489).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tasks.ml.arrays import Floats, Ints
from tasks.ml.network.features import Vectors

POOL: Final = 4  # times as many of the least sure are looked at as are chosen


def uncertainty(found: Floats) -> Floats:
    """(reports,) one less the margin between the two most probable labels: 0 where sure, 1 where torn."""
    two = np.sort(found, axis=1)[:, -2:]
    torn: Floats = 1 - (two[:, 1] - two[:, 0])
    return torn


def review_order(vectors: Vectors, found: Floats, most: int) -> Ints:
    """Places of at most so many reports, the one to ask for first at the front.

    `vectors` (reports, hidden), `found` (reports, labels) probabilities. The least sure comes first; each
    next one is that of the greatest uncertainty times cosine distance to the nearest chosen before.
    """
    torn = uncertainty(found)
    pool = np.argsort(-torn, kind="stable")[: POOL * most]
    rows = np.asarray(vectors[pool], np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    nearest = np.full(len(pool), np.inf)
    chosen: list[int] = [0] if len(pool) else []
    left = np.ones(len(pool), bool)
    while chosen and len(chosen) < min(most, len(pool)):
        left[chosen[-1]] = False
        nearest = np.minimum(nearest, 1 - rows @ rows[chosen[-1]])
        chosen.append(int(np.argmax(np.where(left, torn[pool] * nearest, -np.inf))))
    order: Ints = pool[chosen]
    return order
