"""A training set as files that pandas, DuckDB or `datasets` read: for an export a person asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import (
    Dataset,
    DatasetDict,
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from tasks.ml.disk import whole_folder


def write_dataset(
    folder: Path, splits: Mapping[str, Mapping[str, Sequence[Any]]], beside: Mapping[str, str]
) -> None:
    """Write `splits` (name -> column -> values) below `folder`, its owner's alone, whole or not at all.

    parquet/<split>.parquet     for pandas.read_parquet and load_dataset("parquet", ...)
    datasets/                   for datasets.load_from_disk
    <name>                      each of `beside`: what is to be read about it

    Raises FileExistsError where `folder` is there already.
    """
    parts = DatasetDict({name: Dataset.from_dict(dict(columns)) for name, columns in splits.items()})
    with whole_folder(folder) as partial:
        (partial / "parquet").mkdir()
        with _no_bars():
            for name, part in parts.items():
                part.to_parquet(partial / "parquet" / f"{name}.parquet")
            parts.save_to_disk(partial / "datasets")
        for name, text in beside.items():
            (partial / name).write_text(text, encoding="utf-8")
        for path in partial.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)


@contextmanager
def _no_bars() -> Iterator[None]:
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
