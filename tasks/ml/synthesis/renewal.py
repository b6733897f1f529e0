"""A new set of synthetic reports in which hard ones of the set before stay.

What a model gets wrong, or is unsure of, is worth reading again: hard example mining (Sung 1996; Shrivastava,
Gupta & Girshick 2016, arXiv:1604.03540). Here between sets, not between batches, and bounded: a row's hard
reports take the place of as many new ones, so every row, and with it every label, weighs as before.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tasks.ml.splits import split_of
from tasks.ml.synthesis.chance import Stream
from tasks.ml.synthesis.exams import Mode, Row, generator, training_rows
from tasks.ml.synthesis.report_ids import parsed
from tasks.ml.synthesis.reports import SyntheticReport, synthesize
from tasks.ml.synthesis.wording import EVERYTHING

RENEWALS_MAX = 3  # what is still hard after so many more trainings is more likely wrong than instructive
ROW_SHARE_MAX = 0.5  # of a row's reports: new words must go on coming
_PROBE_ROWS = 40


@dataclass(frozen=True)
class Candidate:
    """A report that the champion got wrong or was unsure of.

    `probability` that it gave the right label; `outlived`: how many sets it was kept in already.
    """

    external_id: str
    probability: float
    outlived: int


@dataclass(frozen=True)
class Recipe:
    """How a set is written, but for its seed and rows."""

    exam: str
    mode: Mode
    reports_per_row: int
    reserved_share: float


def hardest(
    candidates: Sequence[Candidate], recipe: Recipe, seed: int, rows: Sequence[Row], share: float
) -> dict[str, int]:
    """Those that stay when the set of `seed` on `rows` replaces theirs: id -> sets they will have outlived.

    At most `share` of what the training rows hold, the hardest first; of a row at most half; never one of
    another split, of this very seed, or that was kept in RENEWALS_MAX sets already.
    """
    taught = {row.key for row in training_rows(rows, recipe.reserved_share)}
    room = int(share * recipe.reports_per_row * len(taught))
    room_of_row = int(ROW_SHARE_MAX * recipe.reports_per_row)
    kept: dict[str, int] = {}
    of_row: Counter[str] = Counter()
    for one in sorted(candidates, key=lambda one: (one.probability, one.external_id)):
        told = parsed(one.external_id)
        fits = told.row_key in taught and told.seed != seed and one.outlived < RENEWALS_MAX
        if fits and len(kept) < room and of_row[told.row_key] < room_of_row:
            kept[one.external_id] = one.outlived + 1
            of_row[told.row_key] += 1
    return kept


def renewed(
    recipe: Recipe, seed: int, rows: Sequence[Row], kept: Collection[str]
) -> Iterator[SyntheticReport]:
    """The set of `seed` on `rows`: new reports, row by row, then the kept ones, which take the last places.

    The same from the same seed and kept ids on any machine: kept reports are written again from their ids,
    and an id stands for one text. Raises ValueError for a kept report that is not of the training split.
    """
    places = Counter(parsed(external_id).row_key for external_id in kept)
    if any(split_of(row_key) != "train" for row_key in places):
        raise ValueError("only reports of the training split are kept")
    for report in synthesize(
        recipe.exam,
        mode=recipe.mode,
        reports_per_row=recipe.reports_per_row,
        seed=seed,
        rows=rows,
        reserved_share=recipe.reserved_share,
    ):
        new = recipe.reports_per_row - places[report.row_key]
        if parsed(report.external_id).number < new:
            yield report
    yield from _again(recipe, rows, kept)


def sampled(kept: Collection[str], reports_per_row: int, each: int) -> list[str]:
    """The kept reports in a sample of `each` of a row's reports: their share in the whole, rounded up."""
    by_row: defaultdict[str, list[str]] = defaultdict(list)
    for external_id in sorted(kept):
        by_row[parsed(external_id).row_key].append(external_id)
    return [
        external_id
        for ids in by_row.values()
        for external_id in ids[: math.ceil(len(ids) * each / reports_per_row)]
    ]


@lru_cache(maxsize=8)
def grammar_sha(exam: str, reserved_share: float) -> str:
    """sha256 of all that decides the words of an id: the language files, and what the code makes of them.

    The code by its work: the first report on each of some rows, conclusions included.
    """
    made = generator(exam)
    digest = hashlib.sha256(repr((made.grammar.exam, made.grammar.languages)).encode())
    probe = training_rows(made.rows(), reserved_share)[:_PROBE_ROWS]
    for report in synthesize(
        exam, mode="full", reports_per_row=1, seed=0, rows=probe, reserved_share=reserved_share
    ):
        digest.update(report.text.encode())
    return digest.hexdigest()


def _again(recipe: Recipe, rows: Sequence[Row], kept: Collection[str]) -> Iterator[SyntheticReport]:
    """Reports by their ids, of those on `rows`."""
    if not kept:
        return
    made, row_of = generator(recipe.exam), {row.key: row for row in rows}
    writer = made.fit(training_rows(made.rows(), recipe.reserved_share), EVERYTHING)
    for external_id in sorted(kept):
        one = parsed(external_id)
        if one.row_key in row_of:
            row = row_of[one.row_key]
            rng = Stream(recipe.exam, one.seed, one.row_key, one.number)
            text = writer.write(row.measurements, rng, conclude=recipe.mode == "full")
            yield SyntheticReport(external_id, row.key, row.label, text)
