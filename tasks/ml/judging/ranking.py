"""Areas under the ROC and precision-recall curves under many patient weightings at once."""

from __future__ import annotations

import numpy as np

from tasks.ml.arrays import Bools, Floats


def ranked_areas(scores: Floats, positive: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """AUROC and average precision of `scores` for each row of `weights`; NaN where undefined.

    scores, positive: (reports,); weights: (draws, reports), whole numbers. Equal to scikit-learn's
    roc_auc_score and average_precision_score with sample_weight, ties included, but the sort is done once
    and only score levels that hold a positive are visited: AUROC is the share of (positive, negative) pairs
    in the right order, ties counting half (Hanley & McNeil 1982), average precision the precision at each
    positive (Davis & Goadrich 2006 on why not to interpolate).
    """
    undefined = np.full(len(weights), np.nan)
    if not positive.any():
        return undefined, undefined.copy()
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], positive[order]
    first = np.r_[True, ranked[1:] != ranked[:-1]]
    level = np.cumsum(first) - 1  # (reports,) which group of equal scores, best first
    starts = np.flatnonzero(first)
    ends = np.r_[starts[1:], len(ranked)]

    weights = weights[:, order]
    above = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)], axis=1)
    held, first_hit = np.unique(level[hit], return_index=True)  # levels with at least one positive
    gained = np.add.reduceat(weights[:, hit], first_hit, axis=1)  # (draws, levels held) weight of positives
    caught = np.cumsum(gained, axis=1)
    seen_before, seen = above[:, starts[held]], above[:, ends[held]]
    positives = caught[:, -1]
    negatives = above[:, -1] - positives
    # negatives ranked above a positive of this level, those of the same level counting half
    wrongly_above = (seen_before - (caught - gained) + seen - caught) / 2

    with np.errstate(divide="ignore", invalid="ignore"):
        auroc = (gained * (negatives[:, None] - wrongly_above)).sum(axis=1) / (positives * negatives)
        precision = np.where(seen > 0, caught / seen, 0.0)
        average_precision = (gained * precision).sum(axis=1) / positives
    return auroc, average_precision
