"""Reports as token ids in a file of Arrow: read a page at a time, trained on without being held in memory.

Token ids are a text in another form: whoever has the tokenizer reads them. So the folder can be entered by
its owner only, and whoever made it removes it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter
from transformers import PreTrainedTokenizerBase

from tasks.ml.arrays import Ints
from tasks.ml.disk import room_in
from tasks.ml.errors import UnfitData
from tasks.ml.reading.windows import windows_of

ROWS, FACTS = "windows.arrow", "WHOLE.json"


@dataclass(frozen=True)
class Stored:
    """What a store holds. `tokens`: special ones left out; `sha`: of every window's ids, in their order."""

    reports: int
    windows: int
    tokens: int
    sha: str


@dataclass(frozen=True, eq=False)
class TokenStore:
    """Windows on disk: one row each, with its number, its report's, and its token ids with special ones."""

    rows: Dataset
    lengths: Ints  # (windows,)
    stored: Stored


def kept_store(folder: Path) -> TokenStore | None:
    """The store in `folder`; None where there is none, or a kill left half of one."""
    if not (folder / FACTS).is_file():
        return None
    rows = Dataset.from_file(str(folder / ROWS))
    lengths = pc.list_value_length(rows.data.column("input_ids")).to_numpy().astype(np.int64)
    return TokenStore(rows.with_format("numpy"), lengths, Stored(**json.loads((folder / FACTS).read_text())))


def write_store(
    folder: Path, pages: Iterable[Sequence[str]], tokenizer: PreTrainedTokenizerBase, window_tokens: int
) -> TokenStore:
    """Write the windows of every page of texts into `folder`; what lies there is replaced.

    Neighbouring windows share no tokens but those that make the last one full. Raises UnfitData without a
    text, DiskFull.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    sha, reports, windows, tokens = hashlib.sha256(), 0, 0, 0
    features = Features(
        {"input_ids": List(Value("int32")), "window": Value("int64"), "report": Value("int64")}
    )
    with room_in(folder), ArrowWriter(features=features, path=str(folder / ROWS)) as writer:
        for page in pages:
            found = windows_of(tokenizer, page, window_tokens, 0)
            for ids in found.ids:
                sha.update(len(ids).to_bytes(8, "little") + ids.astype("<i4").tobytes())
            numbers = range(windows, windows + len(found.ids))
            owners = (reports + found.owner).tolist()
            writer.write_batch({"input_ids": found.ids, "window": list(numbers), "report": owners})
            reports, windows = reports + len(page), windows + len(found.ids)
            tokens += int(found.tokens_total.sum())
        if reports:
            writer.finalize()
    if not reports:
        shutil.rmtree(folder)
        raise UnfitData("there is no report to read: no patient of the training split has one")
    facts = Stored(reports, windows, tokens, sha.hexdigest())
    # last, and whole or not at all: it says that the rows are
    half = folder / f".{FACTS}"
    half.write_text(json.dumps(asdict(facts)))
    half.rename(folder / FACTS)
    store = kept_store(folder)
    if store is None:
        raise UnfitData(f"{folder} was removed while it was written; run again")
    return store
