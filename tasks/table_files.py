"""Tables as files, .csv or .parquet, read and written a piece at a time so that size does not matter."""

from __future__ import annotations

import csv
import difflib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from pandas.errors import EmptyDataError, ParserError, ParserWarning

from db.errors import ConfigurationError
from tasks.settings.errors import nearest

# what spreadsheets in Brazil save: UTF-8 with or without a mark, or Windows-1252; Latin-1 reads any byte
ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")
SEPARATORS = ",;\t|"


@contextmanager
def whole_file(out: Path, schema: pa.Schema) -> Iterator[Any]:
    """A writer with `write_table`; the file appears when the block ends well, whole or not at all."""
    kind = kind_of(out)
    if not out.parent.is_dir():
        raise ConfigurationError(f"the folder of {out} does not exist; make it first")
    partial = out.with_name(f".{out.name}.partial")
    try:
        if kind == ".csv":
            writer = pyarrow.csv.CSVWriter(partial, schema)
        else:
            writer = pyarrow.parquet.ParquetWriter(partial, schema)
        with writer as file:
            yield file
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def pieces(path: Path, rows: int) -> Iterator[pa.Table]:
    """The file's rows in order; a CSV's values are all strings, its encoding and separator found out.

    Raises ConfigurationError for a file that is not there, is no table or changes its columns midway.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path} is not there")
    return _csv_pieces(path, rows) if kind_of(path) == ".csv" else _parquet_pieces(path, rows)


def kind_of(path: Path) -> str:
    """.csv or .parquet, by the name. Raises ConfigurationError."""
    if path.suffix.lower() not in {".csv", ".parquet"}:
        raise ConfigurationError(f"{path.name} must end in .csv or .parquet")
    return path.suffix.lower()


def require_column(path: Path, table: pa.Table, name: str, how: str) -> None:
    """Raise ConfigurationError where a file's table lacks a column; `how`: which option names it.

    A CSV's columns are not told, but for one that is the asked name to a letter or two: without a header its
    first line is a report.
    """
    if name in table.column_names:
        return
    if kind_of(path) == ".parquet":
        raise ConfigurationError(f"{path} has no column {name!r}{nearest(name, table.column_names)}; {how}")
    close = difflib.get_close_matches(name, table.column_names, n=1, cutoff=0.8)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ConfigurationError(
        f"{path} has no column {name!r}{hint}: its first line, which must hold the columns' names, "
        f"has {table.num_columns} others; {how}"
    )


def _parquet_pieces(path: Path, rows: int) -> Iterator[pa.Table]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid:
        broken = f"{path} is no Parquet file, or a damaged one"
    else:
        return
    raise ConfigurationError(broken)


def _csv_pieces(path: Path, rows: int) -> Iterator[pa.Table]:
    encoding = _encoding_of(path)
    separator, columns = _header_of(path, encoding)
    try:
        with warnings.catch_warnings():
            # pandas only warns when a line has more values than the header: those would be lost
            warnings.simplefilter("error", ParserWarning)
            frames = pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                index_col=False,
                chunksize=rows,
                encoding=encoding,
                sep=separator,
                # of one column a blank line is a row, an empty text; of several it holds none
                skip_blank_lines=columns != 1,
            )
            with frames:
                for frame in frames:
                    schema = pa.schema([(str(name), pa.string()) for name in frame.columns])
                    yield pa.Table.from_pandas(frame, schema, preserve_index=False)
    except EmptyDataError:
        fault = "is empty"
    except (ParserError, ParserWarning):
        fault = "has a line with more values than its header has columns, or a quote that nothing closes; "
        fault += "quote texts that hold separators, and double the quotes in them"
    else:
        return
    # raised here, outside the except block: pandas' message quotes the line
    raise ConfigurationError(f"{path} {fault}")


def _encoding_of(path: Path) -> str:
    for encoding in ENCODINGS[:-1]:
        try:
            with path.open(encoding=encoding) as file:
                while file.read(1 << 20):
                    pass
        except UnicodeDecodeError:
            continue
        return encoding
    return ENCODINGS[-1]


def _header_of(path: Path, encoding: str) -> tuple[str, int]:
    """The separator that cuts the header into most columns, a comma where none does; and how many."""
    with path.open(encoding=encoding, newline="") as file:
        header = file.readline()
    columns = {one: len(next(csv.reader([header], delimiter=one), [])) for one in SEPARATORS}
    separator = max(SEPARATORS, key=columns.__getitem__)
    return separator, columns[separator]
