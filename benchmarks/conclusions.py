"""How many real reports have their conclusion cut by even windows, and what it costs to keep it whole.

    python -m benchmarks.conclusions               half a minute of one core
    python -m benchmarks.conclusions --limit 40    a quick look, recorded nowhere

Pathology reports (TCGA, val.csv, see benchmarks/corpora.py), MiniLM's tokenizer, windows of 512 tokens that
share 64 or more. Nothing is trained and no label is read: it is counted which sections under a heading of
conclusion (`training.windows`, docs/whole-reports.md) lie whole in a window. **Control**: even windows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from benchmarks.corpora import corpus, encoder_folder
from benchmarks.record import Figure, expecting, write
from tasks.ml.arrays import Ints
from tasks.ml.reading.conclusions import ConclusionHeadings, conclusions, shipped
from tasks.ml.reading.windows import places_in

COMMAND = "python -m benchmarks.conclusions"
WINDOW, STRIDE = 512, 64

# written down before val.csv was read; test.csv had been counted while this was made (36 of 328 cut)
EXPECTED = {
    "conclusions_cut_even": ".08 to .15",
    "conclusions_cut_kept": "0: it is what the rule promises",
    "windows_kept_over_even": "1.03 to 1.08: a section longer than a window has one begin at its heading",
}


@dataclass(frozen=True)
class Counted:
    """A report that is longer than a window and holds a conclusion that fits into one."""

    cut: dict[str, bool]  # way of cutting -> whether no window holds one of these sections
    windows: dict[str, int]


def count(tokenizer: PreTrainedTokenizerBase, text: str) -> Counted | None:
    """None for a report of one window, or without a conclusion that would fit."""
    ways: dict[str, ConclusionHeadings | None] = {"even": None, "kept": shipped()}
    cut = {way: places_in(tokenizer, text, WINDOW, STRIDE, whole) for way, whole in ways.items()}
    if len(cut["even"]) == 1:
        return None
    tokens = np.unique(np.concatenate(cut["even"]))
    sections = [tokens[(tokens >= start) & (tokens < end)] for start, end in conclusions(text, shipped())]
    room = int((cut["even"][0] >= 0).sum())
    fitting = [section for section in sections if len(section) <= room]
    if not fitting:
        return None
    return Counted(
        {way: not all(_held(section, windows) for section in fitting) for way, windows in cut.items()},
        {way: len(windows) for way, windows in cut.items()},
    )


def _held(section: Ints, windows: Sequence[Ints]) -> bool:
    return any(np.isin(section, window).all() for window in windows)


def measure(texts: Sequence[str]) -> dict[str, Figure]:
    """Shares of the reports in which there is something to cut."""
    tokenizer = AutoTokenizer.from_pretrained(str(encoder_folder()), local_files_only=True)
    every = [count(tokenizer, text) for text in texts]
    found = [one for one in every if one is not None]
    n = len(found)
    windows = {way: sum(one.windows[way] for one in found) for way in ("even", "kept")}
    figures = {
        f"conclusions_cut_{way}": Figure(sum(one.cut[way] for one in found) / n, "share of reports", n=n)
        for way in ("even", "kept")
    }
    figures["windows_kept_over_even"] = Figure(windows["kept"] / windows["even"], "ratio", n=n)
    figures["reports_with_a_conclusion_to_cut"] = Figure(n / len(texts), "share of reports", n=len(texts))
    return expecting(figures, EXPECTED)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args(arguments)
    rows, _ = corpus(asked.limit)
    figures = measure([row["text"] for row in rows])
    for name, figure in figures.items():
        print(f"{name:34} {figure.value:.3f}  of {figure.n}")
    if asked.limit is None:
        print(f"wrote {write('conclusions', COMMAND, figures)}")


if __name__ == "__main__":
    main()
