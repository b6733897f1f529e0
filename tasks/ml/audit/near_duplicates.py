"""Reports that are nearly the same: MinHash with locality-sensitive hashing, every candidate verified.

Broder 1997, "On the resemblance and containment of documents"; banding as in Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", section 3.4. A pair as similar as SIMILAR is missed with a chance of 1e-7.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tasks.ml.arrays import Ints
from tasks.ml.audit.ground import Ground
from tasks.ml.audit.result import Check, Evidence, untested, verdict
from tasks.ml.audit.words import Words

SHINGLE_WORDS = 5
SIMILAR = 0.8  # share of their runs of five words that two reports have in common (Jaccard)
BANDS, ROWS = 32, 4
BUCKET_MAX = 60  # of a larger one each report is compared with the next ones only

Hashes = NDArray[np.uint64]


def across_splits(ground: Ground) -> Check:
    """No report may have a near-duplicate in another split: what judges would have been taught."""
    splits = ground.corpus.splits
    if splits is None:
        return untested("near_duplicates", "the splits are not known")
    pairs = similar_pairs(ground.words)
    torn = [(a, b) for a, b in pairs if splits[a] != splits[b]]
    touched = {report for pair in torn for report in pair}
    found = [Evidence(f"reports {a + 1} and {b + 1} ({splits[a]}, {splits[b]})", "", 2) for a, b in torn[:5]]
    return Check(
        "near_duplicates",
        verdict(bool(torn)),
        "reports with a near-duplicate in another split",
        float(len(touched)),
        0.0,
        len(splits),
        tuple(found),
        f"{len(pairs)} pairs within or across splits",
    )


def similar_pairs(words: Words) -> list[tuple[int, int]]:
    """Pairs of reports, in order, of which SIMILAR or more of the runs of words are the same."""
    shingles, report = _shingles(words)
    if not len(shingles):
        return []
    sets = np.split(shingles, np.flatnonzero(np.diff(report)) + 1)
    owner = report[np.r_[True, np.diff(report) > 0]]
    pairs = [
        (int(owner[a]), int(owner[b])) for a, b in _candidates(sets) if jaccard(sets[a], sets[b]) >= SIMILAR
    ]
    return sorted(pairs)


def jaccard(one: Hashes, other: Hashes) -> float:
    """Of two sorted sets."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def _shingles(words: Words) -> tuple[Hashes, Ints]:
    """Hashes of all runs of words, each once a report, sorted; and the reports they stand in.

    A report of fewer words is one run.
    """
    rng = np.random.default_rng(5)
    of_word = rng.integers(1, 2**63, size=len(words.vocabulary), dtype=np.uint64)[words.ids]
    run = np.zeros(len(words.ids), dtype=np.uint64)
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    inside = np.ones(len(words.ids), dtype=bool)
    for step in range(SHINGLE_WORDS):
        ahead = np.minimum(np.arange(len(words.ids)) + step, len(words.ids) - 1)
        here = (np.arange(len(words.ids)) + step < len(words.ids)) & (words.report[ahead] == words.report)
        run = run * multiplier + np.where(here, of_word[ahead], np.uint64(0))
        inside &= here
    first = np.r_[True, np.diff(words.report) > 0] if len(words.ids) else np.zeros(0, dtype=bool)
    kept = inside | first
    # sorted by report, then by hash; repeats within a report left out
    order = np.lexsort((run[kept], words.report[kept]))
    run, report = run[kept][order], words.report[kept][order]
    new = np.r_[True, (np.diff(report) > 0) | (run[1:] != run[:-1])] if len(run) else np.zeros(0, dtype=bool)
    return run[new], report[new]


def _candidates(sets: Sequence[Hashes]) -> set[tuple[int, int]]:
    """Pairs of sets that agree in all rows of at least one band."""
    starts = np.cumsum([0, *(len(one) for one in sets[:-1])])
    everything = np.concatenate(sets)
    rng = np.random.default_rng(7)
    pairs: set[tuple[int, int]] = set()
    for _ in range(BANDS):
        signature = np.zeros(len(sets), dtype=np.uint64)
        for odd in rng.integers(1, 2**63, size=ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1):
            mixed = everything * odd
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            least = np.minimum.reduceat(mixed ^ (mixed >> np.uint64(32)), starts)
            signature = signature * np.uint64(0x94D049BB133111EB) + least
        pairs |= _same(signature)
    return pairs


def _same(signature: Hashes) -> set[tuple[int, int]]:
    buckets: dict[int, list[int]] = defaultdict(list)
    _, numbered, counts = np.unique(signature, return_inverse=True, return_counts=True)
    for report in np.flatnonzero(counts[numbered] > 1):
        buckets[int(numbered[report])].append(int(report))
    pairs: set[tuple[int, int]] = set()
    for bucket in buckets.values():
        if len(bucket) <= BUCKET_MAX:
            pairs |= set(combinations(bucket, 2))
        else:
            pairs |= {(a, b) for at, a in enumerate(bucket) for b in bucket[at + 1 : at + 4]}
    return pairs
