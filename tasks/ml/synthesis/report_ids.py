"""What the id of a synthetic report tells: its seed, its row, its number, and so whose words it is in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.ml.synthesis.chance import Stream, pick
from tasks.ml.synthesis.exams import generator


@dataclass(frozen=True)
class ReportId:
    """s<seed>-<row key>-<number>: with the exam it names a stream of random numbers, and so a text."""

    seed: int
    row_key: str
    number: int


def parsed(external_id: str) -> ReportId:
    """Raises ValueError for what is not the id of a synthetic report."""
    found = re.fullmatch(r"s(-?\d+)-(.+)-(\d+)", external_id)
    if found is None:
        raise ValueError("not the id of a synthetic report")
    return ReportId(int(found[1]), found[2], int(found[3]))


def institution_of(exam: str, external_id: str) -> str:
    """The institution whose language the report is written in: the first thing its stream decides.

    So it is known of every id, without writing the text again. Raises ValueError as `parsed` does, and
    UnknownExam.
    """
    one = parsed(external_id)
    return pick(Stream(exam, one.seed, one.row_key, one.number), tuple(generator(exam).grammar.languages))
