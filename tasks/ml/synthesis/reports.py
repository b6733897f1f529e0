"""A whole set of labelled reports, the same from the same seed on any machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.ml.splits import unit_interval
from tasks.ml.synthesis.chance import Stream
from tasks.ml.synthesis.exams import Mode, Row, generator, training_rows
from tasks.ml.synthesis.wording import EVERYTHING, Wording

FLIPPED_SHARE = 0.05  # of the labels in `seed` mode


@dataclass(frozen=True)
class SyntheticReport:
    external_id: str  # s<seed>-<row key>-<number>
    row_key: str
    label: str
    text: str


def synthesize(
    exam: str,
    *,
    mode: Mode,
    reports_per_row: int,
    seed: int,
    rows: Sequence[Row] | None = None,
    reserved_share: float = 0.0,
    wording: Wording = EVERYTHING,
) -> Iterator[SyntheticReport]:
    """Reports on `rows` (default: all), one after another; nothing is kept in memory.

    What is low and high is always learned from the training split without the reserved rows, whatever
    `rows` are written. Each report has a random stream of its own, made from seed, row and number:
    leaving rows out or asking for more reports a row changes none of the others.

    `seed` mode is a cautionary example, the recipe of the notebook this grew from: the label stands
    in the text, and afterwards 5 % of the labels are flipped. Never train anything on it.
    """
    exam_generator = generator(exam)
    table = exam_generator.rows()
    labels = sorted({row.label for row in table})
    writer = exam_generator.fit(training_rows(table, reserved_share), wording)
    for row in table if rows is None else rows:
        for number in range(reports_per_row):
            external_id = f"s{seed}-{row.key}-{number:03}"
            rng = Stream(exam, seed, row.key, number)
            text = writer.write(row.measurements, rng, conclude=mode == "full")
            label = row.label
            if mode == "seed":
                text += f"\nConclusão: {row.label.capitalize()}"
                if unit_interval(external_id, "flip") < FLIPPED_SHARE:
                    label = next(other for other in labels if other != label)
            yield SyntheticReport(external_id, row.key, label, text)
