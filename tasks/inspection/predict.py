"""A model on one's own texts, without a database: the champion, or any model folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from db.errors import ConfigurationError, LaudosError, NothingToWorkOn
from tasks.ml.errors import MlError, Unreadable
from tasks.ml.network.isolation import read_each, readable
from tasks.ml.network.predictor import Predictor
from tasks.ml.reading.cleaning import clean
from tasks.progress import progress_bar
from tasks.settings.settings import Settings
from tasks.table_files import pieces, require_column, whole_file

ROWS_A_PIECE = 2000


@dataclass(frozen=True)
class Answer:
    """What the model says of one text; `problem` says why where it says nothing (`label` None).

    `decision`: auto, or review: a person must look, `because` the model is unsure or the text unfamiliar.
    """

    label: str | None
    probabilities: dict[str, float]
    decision: str
    because: str | None
    tokens: int
    problem: str | None


@dataclass(frozen=True)
class FileAnswers:
    """Where the answers of a file went, and how many; `unread` rows have no label but a problem."""

    file: Path
    model: Path
    rows: int
    review: int
    unread: int


def predict_text(
    settings: Settings, text: str, *, model: Path | None = None, classifier: str | None = None
) -> Answer:
    """The answer for one report. Raises LaudosError with the reason for a text that cannot be read."""
    _, predictor = load(settings, model, classifier)
    (answer,) = _answers(predictor, [text], settings.scoring.batch_tokens)
    if answer.problem is not None:
        raise LaudosError(f"the text cannot be read: {answer.problem}")
    return answer


def predict_file(
    settings: Settings,
    source: Path,
    out: Path,
    *,
    column: str = "text",
    model: Path | None = None,
    classifier: str | None = None,
) -> FileAnswers:
    """Answers for every row of a .csv or .parquet file, in its order, with its other columns beside.

    Added columns: label, p_<label> a label, decision, because, tokens, problem. A text that cannot be
    read keeps its row, with an empty label, decision review and the reason as its problem.
    """
    tables = pieces(source, ROWS_A_PIECE)
    first = next(tables, None)
    if first is None or first.num_rows == 0:
        raise NothingToWorkOn(f"{source} has no rows")
    require_column(source, first, column, "--column names the text's")
    if source.resolve() == out.resolve():
        raise ConfigurationError("--out must be another file than the one read")
    folder, predictor = load(settings, model, classifier)
    schema = _schema(first.drop_columns(column).schema, predictor.labels)
    rows = review = unread = 0
    with progress_bar("reports read") as progress, whole_file(out, schema) as file:
        for table in _all(first, tables):
            answers = _answers(predictor, table[column].to_pylist(), settings.scoring.batch_tokens)
            file.write_table(_beside(table.drop_columns(column), answers, schema))
            rows += len(answers)
            review += sum(one.decision == "review" for one in answers)
            unread += sum(one.label is None for one in answers)
            progress(rows, rows)
    return FileAnswers(out, folder, rows, review, unread)


def _answers(predictor: Predictor, raw: Sequence[Any], batch_tokens: int) -> list[Answer]:
    cleaned: dict[int, str] = {}
    answers: dict[int, Answer] = {}
    for place, value in enumerate(raw):
        try:
            cleaned[place] = clean(value).text
        except Unreadable as unreadable:
            answers[place] = _silent(unreadable.reason)
    if cleaned:
        read = read_each(predictor, list(cleaned.values()), batch_tokens=batch_tokens)
        fine = readable(read)
        sketches = [sketch for sketch, is_fine in zip(read.sketches, fine, strict=True) if is_fine]
        said = iter(predictor.from_vectors(read.vectors[fine], sketches, read.tokens_seen[fine].tolist()))
        for place, is_fine in zip(cleaned, fine, strict=True):
            answers[place] = _silent("scoring_failed")
            if is_fine:
                one = next(said)
                answers[place] = Answer(
                    one.label, one.probabilities, one.decision, one.because, one.tokens_seen, None
                )
    return [answers[place] for place in range(len(raw))]


def _silent(reason: str) -> Answer:
    return Answer(None, {}, "review", None, 0, reason)


def load(settings: Settings, model: Path | None, classifier: str | None) -> tuple[Path, Predictor]:
    """The model asked for, in memory, and its folder.

    A champion that another one replaced while it was being read, and that the retention rules then took
    away, gives way to that one.
    """
    place = model_folder(settings, model, classifier)
    while True:
        try:
            return place[0], Predictor.load(*place)
        except (MlError, OSError):
            before, place = place, model_folder(settings, model, classifier)
            if place == before:
                raise


def model_folder(settings: Settings, model: Path | None, classifier: str | None) -> tuple[Path, str | None]:
    """The folder given, or the champion's by its pointer file; with the sha its manifest must have."""
    if model is not None:
        return model, None
    if classifier is None:
        pointers = sorted(settings.folder.glob("champion-*.json"))
    else:
        pointers = [path for path in [settings.folder / f"champion-{classifier}.json"] if path.is_file()]
    if not pointers:
        whose = f" for {classifier!r}" if classifier else ""
        raise NothingToWorkOn(f'no promoted model{whose} in {settings.folder}; run "laudos retrain" first')
    if len(pointers) > 1:
        names = ", ".join(path.stem.removeprefix("champion-") for path in pointers)
        raise ConfigurationError(f"which classifier? Say --classifier NAME ({names})")
    try:
        content = json.loads(pointers[0].read_text(encoding="utf-8"))
        return settings.folder / content["path"], str(content["manifest_sha"])
    except (OSError, ValueError, KeyError, TypeError):
        way_out = '"laudos retrain" or "laudos models rollback CLASSIFIER" writes it anew'
        broken = f"{pointers[0]} cannot be read; {way_out}"
    raise LaudosError(broken)


def _schema(kept: pa.Schema, labels: Sequence[str]) -> pa.Schema:
    added = [
        pa.field("label", pa.string()),
        *(pa.field(f"p_{label}", pa.float64()) for label in labels),
        pa.field("decision", pa.string()),
        pa.field("because", pa.string()),
        pa.field("tokens", pa.int64()),
        pa.field("problem", pa.string()),
    ]
    taken = {field.name for field in added}
    # a column of the file that bears the name of one of ours stays, as in_<name>
    own = [field.with_name(f"in_{field.name}") if field.name in taken else field for field in kept]
    return pa.schema([*own, *added])


def _beside(kept: pa.Table, answers: Sequence[Answer], schema: pa.Schema) -> pa.Table:
    rows = [
        {**vars(one), **{f"p_{label}": value for label, value in one.probabilities.items()}}
        for one in answers
    ]
    added = schema.names[kept.num_columns :]
    columns = [pa.array([row.get(name) for row in rows], schema.field(name).type) for name in added]
    return pa.Table.from_arrays([*kept.columns, *columns], schema=schema)


def _all(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from rest
