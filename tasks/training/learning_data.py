"""A snapshot's reports as arrays, and their vectors, encoded only where none is stored."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import Engine

from db import erasure, features, reports, snapshots
from db.engine import reading, writing
from db.errors import NothingToWorkOn
from db.features import Feature
from tasks.ml.arrays import Ints
from tasks.ml.memory import give_back
from tasks.ml.network.features import Encoded, Progress, Vectors
from tasks.ml.splits import Split, split_of, unit_interval

# one transaction's worth: what a kill costs at most
TEXTS_A_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Part:
    """One split of a snapshot; the four run alike, one entry a report."""

    ids: list[int]  # report versions
    texts: list[str]
    labels_idx: Ints
    patients: list[str]
    origins: list[str]

    def first(self, reports: int | None) -> Part:
        """So many reports at most, the same ones every time and from all over the split, one of each label
        among them where there is room."""
        if reports is None or reports >= len(self.ids):
            return self
        drawn = sorted(range(len(self.ids)), key=lambda index: unit_interval(str(self.ids[index]), "first"))
        # chance may leave a rare label out, and without an example of each nothing can be trained
        one_each = {self.labels_idx[index]: index for index in reversed(drawn)}.values()
        others = (index for index in drawn if index not in one_each)
        return self.only(sorted([*one_each, *others][:reports]))

    def only(self, places: Sequence[int]) -> Part:
        """The reports at these places."""
        return Part(
            [self.ids[index] for index in places],
            [self.texts[index] for index in places],
            self.labels_idx[list(places)],
            [self.patients[index] for index in places],
            [self.origins[index] for index in places],
        )


def read_part(
    engine: Engine, snapshot_id: int, split: Split, labels: Sequence[str], *, whole: bool = True
) -> Part:
    """A split with its texts. Where some were erased since the freeze: raises NothingToWorkOn, or gives what
    is left where it need not be `whole`."""
    with reading(engine) as c:
        frozen = snapshots.with_texts(c, snapshot_id, split)
    rows = [row for row in frozen if row["text"] is not None]
    erased = len(frozen) - len(rows)
    if erased and whole:
        raise NothingToWorkOn(
            f"{erased} reports of snapshot {snapshot_id} were erased since it was frozen; "
            'run "laudos retrain" to freeze what is left'
        )
    place = {label: index for index, label in enumerate(labels)}
    return Part(
        [row["report_version_id"] for row in rows],
        [row["text"] for row in rows],
        np.array([place[row["label"]] for row in rows], np.int64),
        [row["patient_key"] for row in rows],
        [row["origin"] for row in rows],
    )


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Reports whose label nobody asks for; `sha` says which ones."""

    texts: list[str]
    sha: str


def read_unlabelled(
    engine: Engine, snapshot_id: int, sources: Collection[str] | None, most: int
) -> Unlabelled:
    """At most so many hospital reports that a snapshot does not hold, of patients whose split is train.

    The same ones every time while no report comes or goes, and from all over the database. Patients of the
    calibration and the holdout split are never among them: their split is theirs whatever is labelled.
    """
    with reading(engine) as c:
        theirs = (
            version_id
            for version_id, patient, held in snapshots.hospital_reports(c, snapshot_id, sources)
            if not held and split_of(patient) == "train"
        )
        drawn = sorted(heapq.nsmallest(most, theirs, key=lambda one: unit_interval(str(one), "unlabelled")))
        texts = list(reports.texts(c, drawn).values())
    return Unlabelled(texts, hashlib.sha256("\x1e".join(texts).encode()).hexdigest())


@dataclass(frozen=True, eq=False)
class Stored:
    """What is stored of each report of a part: (reports, hidden) vectors, and sketches of its words.

    `encoded`: how many were not stored yet and had to be read.
    """

    vectors: Vectors
    sketches: list[bytes]
    encoded: int


def vectors_of(
    engine: Engine,
    part: Part,
    encoder_sha: str,
    encode: Callable[[list[str]], Encoded],
    now: datetime,
    progress: Progress | None = None,
    *,
    keep: bool = True,
) -> Stored:
    """What the head reads of each report, encoded where it is not stored.

    No transaction is open while the encoder computes; each chunk is stored as soon as it is ready, unless
    nothing is to be kept.
    """
    with reading(engine) as c:
        known = features.get(c, encoder_sha, part.ids)
    missing = [index for index, at in enumerate(part.ids) if at not in known]
    for start in range(0, len(missing), TEXTS_A_CHUNK):
        chunk = missing[start : start + TEXTS_A_CHUNK]
        encoded = encode([part.texts[index] for index in chunk])
        rows = [
            Feature(part.ids[index], vector.astype("<f4").tobytes(), int(seen), int(total), sketch)
            for index, vector, seen, total, sketch in zip(
                chunk,
                encoded.vectors,
                encoded.tokens_seen,
                encoded.tokens_total,
                encoded.sketches,
                strict=True,
            )
        ]
        if keep:
            with writing(engine) as c:
                erasure.held_off(c)
                # what was removed on request meanwhile leaves no trace
                there = reports.texts(c, [row.report_version_id for row in rows])
                features.put(c, encoder_sha, [row for row in rows if row.report_version_id in there], now)
        known.update((row.report_version_id, row) for row in rows)
        if progress is not None:
            progress(start + len(chunk), len(missing))
    if missing:
        give_back()
    stored = [known[at] for at in part.ids]
    vectors = np.stack([np.frombuffer(one.vector, "<f4") for one in stored])
    return Stored(vectors, [one.sketch for one in stored], len(missing))
