"""A rare label, with every loss that `training.loss` knows; and what an early end saves, and costs.

    python -m benchmarks.rare_labels                 three seeds; half an hour of one core
    python -m benchmarks.rare_labels --limit 600 --seeds 1   a quick look, recorded nowhere

Is a Spanish clinical sentence (NUBes) uncertain? One in fifty is, the others of them are left out. A network
from scratch, trained by what a retraining trains a classifier's with (`train_body`, `fit_head`). Recall and
average precision are the published head's, fitted and calibrated on the network's vectors; `own_recall` is
that of the network's own head, which the loss has bent and nobody publishes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score, recall_score

from benchmarks.nubes import SPEC, STRIDE, WINDOW, sentences
from benchmarks.record import Figure, expecting, tell, write
from tasks.ml.arrays import Ints
from tasks.ml.network.encoder import make_scratch
from tasks.ml.network.features import encode
from tasks.ml.network.head import fit_head, head_of, probabilities
from tasks.ml.training.body_training import BodyTraining
from tasks.ml.training.held_out import HeldOut, drawn
from tasks.ml.training.training import train_body

COMMAND = "python -m benchmarks.rare_labels"
QUESTION, RARE = "unc", 50  # one sentence in so many is uncertain
TRAINING = BodyTraining(WINDOW, STRIDE, epochs=4.0, learning_rate=5e-4)
LONG = replace(TRAINING, epochs=12.0)
WAYS: Mapping[str, BodyTraining] = {
    "plain": TRAINING,
    "balanced": replace(TRAINING, loss="balanced"),
    "focal": replace(TRAINING, loss="focal"),
    "long": LONG,
    "early": replace(LONG, patience=3),
}

# written down before the first reading
EXPECTED = {
    "rare_own_recall_balanced_minus_plain": "+.1 to +.4: weights move the network's own threshold",
    "rare_recall_balanced_minus_plain": "-.05 to +.1: the head is fitted anew, unweighted",
    "rare_average_precision_balanced_minus_plain": "-.05 to +.05",
    "rare_average_precision_focal_minus_plain": "-.05 to +.05",
    "rare_average_precision_early_minus_long": "-.05 to +.05",
    "rare_mean_probability_over_share_balanced": ".7 to 1.4: calibrated whatever the loss",
    "rare_steps_early_over_long": ".3 to .7",
}


@dataclass(frozen=True, eq=False)
class Part:
    texts: list[str]
    labels: Ints


def parts(limit: int | None) -> dict[str, Part]:
    """The splits, with so few uncertain sentences that one in fifty is."""
    found = {}
    for name, some in sentences(limit).items():
        answers = sorted(set(some.said[QUESTION]))
        labels = np.array([answers.index(one) for one in some.said[QUESTION]], np.int64)
        rare = int(np.bincount(labels).argmin())
        labels = (labels == rare).astype(np.int64)
        uncertain = np.flatnonzero(labels == 1)
        few = max(2, round((labels == 0).sum() / (RARE - 1)))
        kept = np.sort(
            np.concatenate([np.flatnonzero(labels == 0), uncertain[:: max(1, len(uncertain) // few)]])
        )
        found[name] = Part([some.texts[at] for at in kept], labels[kept])
    return found


def read(splits: Mapping[str, Part], config: BodyTraining, seed: int) -> dict[str, float]:
    """What one network comes to, and of how many steps."""
    taught, held = splits["train"], None
    numbers = [str(number) for number in range(len(taught.texts))]  # samples are few and large
    network = make_scratch(taught.texts, ("no", "yes"), SPEC, seed=seed, patients=numbers)
    teaching = np.ones(len(numbers), bool)
    if config.patience is not None:
        teaching = ~drawn(taught.labels, numbers)
        aside = np.flatnonzero(~teaching)
        held = HeldOut([taught.texts[at] for at in aside], taught.labels[aside])
    with tempfile.TemporaryDirectory(prefix="laudos-rare-") as folder:
        log = train_body(
            *network, [taught.texts[at] for at in np.flatnonzero(teaching)], taught.labels[teaching],
            config=replace(config, checkpoint_every_steps=10**6), checkpoint_folder=Path(folder), seed=seed,
            held_out=held,
        )  # fmt: skip
    vectors = {
        name: encode(*network, part.texts, window_tokens=WINDOW, stride_tokens=STRIDE).vectors
        for name, part in splits.items()
    }
    calibration, truth = splits["calibration"].labels, splits["holdout"].labels
    head = fit_head(vectors["train"], taught.labels, 2, vectors["calibration"], calibration, seed=seed)
    given = probabilities(head, vectors["holdout"])
    weight, bias = head_of(network[0])
    own = vectors["holdout"] @ weight.T + bias
    return {
        "recall": float(recall_score(truth, given.argmax(axis=1))),
        "own_recall": float(recall_score(truth, own.argmax(axis=1))),
        "average_precision": float(average_precision_score(truth, given[:, 1])),
        "mean_probability_over_share": float(given[:, 1].mean() / truth.mean()),
        "steps": float(log.steps),
    }


def measure(splits: Mapping[str, Part], seeds: int) -> dict[str, Figure]:
    """Means over seeds, with their range; differences are between networks of one seed."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(seeds):
        for way, config in WAYS.items():
            found[way].append(read(splits, config, seed))
            print(seed, way, {name: round(value, 3) for name, value in found[way][-1].items()}, flush=True)
    figures = {
        f"rare_{name}_{way}": _over([one[name] for one in read_], "steps" if name == "steps" else "share")
        for way, read_ in found.items()
        for name in read_[0]
    }
    for name in ("recall", "own_recall", "average_precision"):
        for way, beside in (("balanced", "plain"), ("focal", "plain"), ("early", "long")):
            apart = [
                ours[name] - theirs[name] for ours, theirs in zip(found[way], found[beside], strict=True)
            ]
            figures[f"rare_{name}_{way}_minus_{beside}"] = _over(apart, "share")
    shares = [
        ours["steps"] / theirs["steps"] for ours, theirs in zip(found["early"], found["long"], strict=True)
    ]
    return figures | {"rare_steps_early_over_long": _over(shares, "ratio")}


def _over(values: Sequence[float], unit: str) -> Figure:
    return Figure(float(np.mean(values)), unit, min(values), max(values), len(values))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="so many sentences of each split; recorded nowhere")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)  # steps too small to share
    splits = parts(asked.limit)
    for name, part in splits.items():
        print(name, len(part.texts), "sentences,", int(part.labels.sum()), "uncertain", flush=True)
    figures = expecting(measure(splits, asked.seeds), EXPECTED)
    tell(figures)
    if asked.limit is None:
        print(f"wrote {write('rare_labels', COMMAND, figures)}")


if __name__ == "__main__":
    main()
