"""Phrase hold-out of each lever of variety alone, against the grammar only: same seeds, rows and reports.

    python -m benchmarks.levers                                  every lever, five seeds, resumable
    python -m benchmarks.levers --seeds 1 --reports-per-row 8    a quick look
    python -m benchmarks.levers --lever noise                    one of them

Every network reads as many reports as without a lever: a copy that differs takes the place of one that
would be read again. Differences are paired: a draw weighs the rows alike with and without the lever.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from os import cpu_count

import numpy as np

from benchmarks.carryover import Asked, Trial
from benchmarks.lever_texts import LEVERS
from benchmarks.record import Figure, add, tell
from benchmarks.synthesis import SEEDS, aurocs, halves, over_rows, ran
from tasks.ml.arrays import Floats
from tasks.ml.judging.ranking import ranked_areas

COMMAND = "python -m benchmarks.levers"

# written down before the first run: gains in phrase hold-out AUROC per report over the grammar only
EXPECTED = {
    "clauses": "0 to +.003: clauses come in any order and number already",
    "synonyms": "+.002 to +.01: the other half of the phrases uses some of these words",
    "noise": "-.002 to +.003: pieces of words are read on their own more often",
    "sections": "0: what they say is independent of the findings already",
    "augment": "0 to +.01",
    "language_model": "-.005 to +.002: it has read the same half of the phrases",
    "replacement": "-.005 to +.002: likewise",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--reports-per-row", type=int, default=Trial(0).reports_per_row)
    parser.add_argument("--workers", type=int, default=cpu_count() or 1)
    parser.add_argument("--lever", action="append", choices=list(LEVERS))
    asked = parser.parse_args(arguments)
    plain = [
        replace(halves(seed), reports_per_row=asked.reports_per_row, lever="") for seed in range(asked.seeds)
    ]
    levers = asked.lever or list(LEVERS)
    conditions = {"": plain} | {name: [replace(one, lever=name) for one in plain] for name in levers}
    found = ran(conditions, asked.workers)
    figures = {"grammar_only_auroc": aurocs("grammar_only", found[""])["grammar_only_auroc"]}
    for name in levers:
        figures |= against(name, found[name], found[""])
    tell(figures)
    add("levers", COMMAND, figures)


def against(name: str, with_it: Sequence[Asked], without: Sequence[Asked]) -> dict[str, Figure]:
    """The lever's AUROC in words never taught, its paired gain there and in words that were, and of pairs."""
    both = [
        Asked(
            one.critical,
            one.rows,
            {**{f"{key}_with": scores for key, scores in one.scores.items()}, **other.scores},
            one.right,
        )
        for one, other in zip(with_it, without, strict=True)
    ]
    figures = {f"{name}_auroc": aurocs(name, with_it)[f"{name}_auroc"]}
    for key, figure in (("ours", f"{name}_gain"), ("ours_in_grammar", f"{name}_gain_in_grammar")):
        figures[figure] = over_rows(
            figure,
            both,
            lambda one, w, key=key: _area(one, f"{key}_with", w) - _area(one, key, w),  # type: ignore[misc]
        )
    figures[f"{name}_gain"] = replace(figures[f"{name}_gain"], expected=EXPECTED[name])
    gains = [
        float(np.mean(one.right["ours"]) - np.mean(other.right["ours"]))
        for one, other in zip(with_it, without, strict=True)
    ]
    figures[f"{name}_gain_behaviour"] = Figure(
        float(np.mean(gains)), "share of pairs", min(gains), max(gains), len(gains)
    )
    return figures


def _area(one: Asked, model: str, weights: Floats) -> Floats:
    return ranked_areas(one.scores[model], one.critical, weights)[0]


if __name__ == "__main__":
    main()
