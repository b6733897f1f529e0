"""Whether the order in which `laudos labels next` asks for labels teaches more than chance does.

    python -m benchmarks.review_order                      a minute or two of one core
    python -m benchmarks.review_order --repeats 2          a quick look, recorded nowhere

Real pathology reports (TCGA, see benchmarks/corpora.py): val.csv, whose reports of training patients are the
pool and whose other reports are asked; the question is the cancer type (32 of them). Vectors are TF-IDF in
100 dimensions (truncated SVD), fitted on the pool's texts without a label: an order is compared, not an
encoder. A repeat begins with 64 labels drawn at random, and asks for 32 more eight times, each time as a
model taught by those so far would have them ordered. test.csv is not read.

Figures: macro F1 over the eight rounds, less that of chance from the same 64 labels, in points, with its 95 %
interval over repeats (t, paired); and the macro F1 after the last round. **Control**: chance itself, drawn
again. The intervals hold other draws of the first labels, not other reports to judge on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from benchmarks import corpora
from benchmarks.record import Figure, expecting, tell, write
from tasks.intake.rows import patient_key
from tasks.ml.arrays import Floats, Ints
from tasks.ml.labels.review_order import review_order, uncertainty
from tasks.ml.splits import split_of

COMMAND = "python -m benchmarks.review_order"
FIRST, BATCH, ROUNDS, REPEATS, DIMENSIONS = 64, 32, 8, 20, 100

# written down before the first run
EXPECTED = {
    "gain_order": "0 to +4 points: rare types are found sooner",
    "gain_margin": "-1 to +3 points: the same without the distance, so more of one kind at a time",
    "gain_chance_again": "-1 to +1 points: nothing",
    "macro_f1_chance": ".45 to .65",
    "macro_f1_order": ".50 to .70",
}

# vectors and probabilities of what is not labelled yet, a generator -> places to ask for
Way = Callable[[Floats, Floats, np.random.Generator], Ints]


@dataclass(frozen=True, eq=False)
class Ground:
    """What may be asked for, and what judges."""

    pool: Floats
    pool_idx: Ints
    asked: Floats
    asked_idx: Ints


def ground() -> Ground:
    """val.csv, divided as laudos divides patients."""
    rows, _ = corpora.corpus()
    labels = corpora.labels_of("type", rows)
    rows = [row for row in rows if row["type_code"] in labels]
    key = [patient_key("tcga", row["bcr_patient_barcode"], row["bcr_patient_barcode"]) for row in rows]
    of_pool = np.array([split_of(one) == "train" for one in key])
    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    narrow = TruncatedSVD(DIMENSIONS, random_state=0)
    texts = np.array([row["text"] for row in rows], object)
    idx = np.array([labels.index(row["type_code"]) for row in rows], np.int64)
    pool = narrow.fit_transform(words.fit_transform(texts[of_pool]))
    asked = narrow.transform(words.transform(texts[~of_pool]))
    return Ground(pool, idx[of_pool], asked, idx[~of_pool])


def chance(_vectors: Floats, found: Floats, rng: np.random.Generator) -> Ints:
    return rng.permutation(len(found))[:BATCH]


def margin(_vectors: Floats, found: Floats, _rng: np.random.Generator) -> Ints:
    return np.argsort(-uncertainty(found), kind="stable")[:BATCH]


def ordered(vectors: Floats, found: Floats, _rng: np.random.Generator) -> Ints:
    return review_order(vectors.astype(np.float32), found, BATCH)


WAYS: dict[str, Way] = {"chance": chance, "order": ordered, "margin": margin, "chance_again": chance}


def rounds(given: Ground, way: Way, first: Ints, rng: np.random.Generator) -> list[float]:
    """Macro F1 after each round."""
    known = np.zeros(len(given.pool), bool)
    known[first] = True
    scores = []
    for _ in range(ROUNDS):
        rest = np.flatnonzero(~known)
        found = _taught(given, known).predict_proba(given.pool[rest])
        known[rest[way(given.pool[rest], found, rng)]] = True
        said = _taught(given, known).predict(given.asked)
        scores.append(f1_score(given.asked_idx, said, average="macro", zero_division=0))
    return scores


def _taught(given: Ground, known: NDArray[np.bool_]) -> LogisticRegression:
    return LogisticRegression(C=30.0, max_iter=500).fit(given.pool[known], given.pool_idx[known])


def measure(repeats: int) -> dict[str, Figure]:
    given = ground()
    scores: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    for repeat in range(repeats):
        first = np.random.default_rng(repeat).permutation(len(given.pool))[:FIRST]
        for number, (name, way) in enumerate(WAYS.items()):
            rng = np.random.default_rng([repeat, number])
            scores[name].append(rounds(given, way, first, rng))
    read = {name: np.array(one) for name, one in scores.items()}
    figures = {}
    for name in ("order", "margin", "chance_again"):
        gains = 100 * (read[name] - read["chance"]).mean(axis=1)
        half = stats.t.ppf(0.975, repeats - 1) * gains.std(ddof=1) / np.sqrt(repeats)
        mean = float(gains.mean())
        figures[f"gain_{name}"] = Figure(mean, "points", mean - half, mean + half, repeats)
    for name in ("chance", "order"):
        figures[f"macro_f1_{name}"] = Figure(float(read[name][:, -1].mean()), "share", n=repeats)
    return expecting(figures, EXPECTED)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=REPEATS)
    asked = parser.parse_args(arguments)
    figures = measure(asked.repeats)
    tell(figures)
    if asked.repeats == REPEATS:
        print(f"wrote {write('review_order', COMMAND, figures)}")


if __name__ == "__main__":
    main()
