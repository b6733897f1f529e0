"""Labels that are probably wrong: confident learning on stored vectors.

A report is in doubt where heads that never saw its patient are surer of another label than they are, on
average, of reports that bear that other label. Source: Northcutt, Jiang & Chuang 2021, "Confident learning:
estimating uncertainty in dataset labels", JAIR 70:1373-1411. What it cannot tell apart is a wrong label and
a report that is merely hard: where labels overlap, the list holds both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from tasks.ml.arrays import Floats, Ints
from tasks.ml.network.features import Progress, Vectors
from tasks.ml.network.head import fit_head, probabilities

FOLDS: Final = 5
# two a fold: with fewer, a label's threshold stands on hardly anybody
PATIENTS_MIN: Final = 2 * FOLDS


@dataclass(frozen=True, eq=False)
class Noise:
    """What out-of-fold probabilities say of the labels that were given; one entry a report, or a label."""

    suggested: Ints  # (reports,) the given label where nothing speaks against it
    margin: Floats  # (reports,) probability of the suggested label less that of the given one; 0 where equal
    thresholds: Floats  # (labels,) the mean probability of a label among the reports that bear it
    joint: (
        Floats  # (given, true) estimated shares of all reports; sums to 1, and each row to its label's share
    )

    @property
    def doubted(self) -> Ints:
        """Places of the reports whose label is in doubt, the widest margin first."""
        places = np.flatnonzero(self.margin > 0)
        return places[np.argsort(-self.margin[places], kind="stable")]

    @property
    def share(self) -> float:
        """Estimated share of all labels that are wrong."""
        return float(1 - np.trace(self.joint))


def out_of_fold(
    vectors: Vectors,
    labels_idx: Ints,
    patients: Sequence[str],
    n_labels: int,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Floats:
    """Probabilities (reports, labels) by heads that saw no report of the patient; the same input, the same.

    Patients are dealt into FOLDS folds in which each label is about as common as in all. A fold is judged by
    a head that three others taught and a fourth gave C and temperature, as `fit_head` asks for. Every label
    needs PATIENTS_MIN patients. Raises UnfitData for one that is missing from what teaches a fold.
    """
    deal = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    folds = [judged for _, judged in deal.split(vectors, labels_idx, patients)]
    found = np.empty((len(labels_idx), n_labels))
    for number, judged in enumerate(folds):
        chooses, *taught = folds[number + 1 :] + folds[:number]
        teach = np.concatenate(taught)
        head = fit_head(
            vectors[teach], labels_idx[teach], n_labels, vectors[chooses], labels_idx[chooses], seed=seed
        )
        found[judged] = probabilities(head, vectors[judged])
        if progress is not None:
            progress(number + 1, FOLDS)
    return found


def find_noise(found: Floats, labels_idx: Ints) -> Noise:
    """The labels in doubt and the joint of given and true ones, from out-of-fold `found` (reports, labels).

    A report counts as truly of the most probable label among those whose threshold it reaches, and not at
    all where it reaches none; it is in doubt where that label is also more probable than its own. Every
    label must be borne by a report.
    """
    reports, n_labels = found.shape
    each = np.arange(reports)
    borne = np.bincount(labels_idx, minlength=n_labels)
    thresholds = np.bincount(labels_idx, found[each, labels_idx], n_labels) / borne
    reached = found >= thresholds
    true = np.argmax(np.where(reached, found, -1.0), axis=1)
    counted = reached.any(axis=1)

    counts = np.zeros((n_labels, n_labels))
    np.add.at(counts, (labels_idx[counted], true[counted]), 1)
    # no row is empty: whatever bears a label, the surest of it reaches the mean
    joint = counts / counts.sum(axis=1, keepdims=True) * borne[:, None] / reports

    margin = np.where(counted, found[each, true] - found[each, labels_idx], 0.0).clip(min=0.0)
    return Noise(np.where(margin > 0, true, labels_idx), margin, thresholds, joint)
