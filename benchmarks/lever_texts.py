"""What each lever of variety gives a network to read, in as many steps as the reports alone would take."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks import generated
from benchmarks.generated.checks import Sample, plant, sieve
from benchmarks.generated.networks import Network, Writer, causal, masked
from benchmarks.generated.writing import continued, replaced
from tasks.ml import variety
from tasks.ml.arrays import Ints
from tasks.ml.variety.augment import WAYS, Augmentation, Course, course

SAMPLES = 4000  # reports that are continued, or have words replaced

Make = Callable[[Sequence[str], Sequence[str], Writer, int], Network]
Draw = Callable[[Network, Sequence[str], int], list[Sample]]
Lever = Callable[[Sequence[str], Sequence[str], Ints, int, float], Course]


def _by(*ways: str) -> Lever:
    how = Augmentation.of([way for way in WAYS if way in ways])
    return lambda texts, _rows, _truth, seed, epochs: course(texts, how, seed, epochs)


def _written(make: Make, sample: Draw) -> Lever:
    """Samples beside the reports, each with the label of the report it was made from."""

    def lever(texts: Sequence[str], rows: Sequence[str], truth: Ints, seed: int, epochs: float) -> Course:
        planted, secrets = plant(texts, seed)
        chosen = np.random.default_rng(seed).permutation(len(texts))[:SAMPLES]
        drawn = sample(make(planted, rows, Writer(), seed), [texts[at] for at in chosen], seed)
        drawn = [replace(one, report=int(chosen[one.report])) for one in drawn]
        found = sieve(drawn, texts, truth, secrets, seed)
        counts = {"drawn": len(drawn), "kept": len(found.kept), **found.refused}
        print(f"  seed {seed}: {json.dumps(counts)}", file=sys.stderr, flush=True)
        everything = [*texts, *(one.text for one in found.kept)]
        report = np.r_[np.arange(len(texts)), [one.report for one in found.kept]].astype(np.int64)
        return Course(everything, report, epochs * len(texts) / len(everything))

    return lever


LEVERS: dict[str, Lever] = {
    "clauses": _by("clauses"),
    "synonyms": _by("synonyms"),
    "noise": _by("noise"),
    "sections": _by("sections"),
    "augment": _by(*WAYS),
    "language_model": _written(causal, continued),
    "replacement": _written(masked, replaced),
}


def read_with(
    lever: str, texts: Sequence[str], rows: Sequence[str], truth: Ints, seed: int, epochs: float
) -> Course:
    """Without a lever the reports themselves. Raises KeyError for a lever there is not."""
    if not lever:
        return course(texts, Augmentation(), seed, epochs)
    return LEVERS[lever](texts, rows, truth, seed, epochs)


@cache  # one run, one code: files may be edited while it goes on
def code_sha() -> str:
    """sha256 over all that decides what a lever does: a kept trial of other code is run again."""
    folders = [Path(next(iter(package.__path__))) for package in (variety, generated)]
    files = [Path(__file__), *sorted(path for folder in folders for path in folder.rglob("*.[py]*"))]
    files = [path for path in files if path.suffix in (".py", ".yaml")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
