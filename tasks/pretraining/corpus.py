"""Which hospital reports a network is pre-trained on, and which examine it: read from SQL a page at a time.

Only patients whose split is training teach; an exam is of patients of the calibration split. Patients who
judge are read by neither: their split is theirs for ever, whatever is labelled.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Engine

from db import reports, snapshots
from db.engine import reading
from db.errors import LaudosError, NothingToWorkOn
from tasks.ml.splits import split_of, unit_interval
from tasks.model_folders import write_atomically

TEXTS_A_PAGE = 1000
EXAM_REPORTS = 500


@dataclass(frozen=True, eq=False)
class Corpus:
    """Report versions with their patients, by number. `sha` tells what they and the exam say."""

    taught: list[tuple[int, str]]
    labelled: int  # of them, the snapshot holds
    exam: list[int]
    sha: str = ""

    @property
    def unlabelled(self) -> int:
        return len(self.taught) - self.labelled

    @property
    def patients(self) -> int:
        return len({patient for _, patient in self.taught})


def draw_corpus(
    engine: Engine, snapshot_id: int, sources: Collection[str] | None, unlabelled: int | None
) -> Corpus:
    """Every labelled report of the training patients, and at most `unlabelled` (None: all) of their others.

    The same ones every time while no report comes or goes. Raises NothingToWorkOn where either side is empty.
    """
    labelled, others, held_out = _readable(engine, snapshot_id, sources)
    if unlabelled is not None and unlabelled < len(others):
        others = heapq.nsmallest(unlabelled, others, key=lambda one: unit_interval(str(one[0]), "unlabelled"))
    exam = heapq.nsmallest(EXAM_REPORTS, held_out, key=lambda one: unit_interval(str(one), "exam"))
    taught = sorted(labelled + others)
    if not taught or not exam:
        raise NothingToWorkOn(
            f"{len(taught)} hospital reports of training patients and {len(exam)} of calibration patients: "
            'pre-training needs both; run "laudos ingest" first'
        )
    return _with_sha(engine, Corpus(taught, len(labelled), sorted(exam)))


def remember(corpus: Corpus, file: Path) -> None:
    """Write which reports these are, by number and sha, for a run that may have to go on with them."""
    taught = [version_id for version_id, _ in corpus.taught]
    told = {"taught": taught, "labelled": corpus.labelled, "exam": corpus.exam, "sha": corpus.sha}
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(file, json.dumps(told).encode())


def remembered(
    engine: Engine, snapshot_id: int, sources: Collection[str] | None, file: Path
) -> Corpus | None:
    """The reports that a killed run was reading; None where no run was, or some can no longer be read or say
    something else.

    Reports that came since are left to the next pre-training: with them it would have to begin again.
    """
    if not file.is_file():
        return None
    told = json.loads(file.read_text())
    labelled, others, held_out = _readable(engine, snapshot_id, sources)
    patients = dict(labelled + others)
    if not patients.keys() >= set(told["taught"]) or not set(held_out) >= set(told["exam"]):
        return None
    taught = [(version_id, patients[version_id]) for version_id in told["taught"]]
    found = _with_sha(engine, Corpus(taught, told["labelled"], told["exam"]))
    return found if found.sha == told.get("sha") else None


def _readable(
    engine: Engine, snapshot_id: int, sources: Collection[str] | None
) -> tuple[list[tuple[int, str]], list[tuple[int, str]], list[int]]:
    """Training patients' reports with their patients, labelled and not; and those of calibration patients."""
    labelled: list[tuple[int, str]] = []
    others: list[tuple[int, str]] = []
    held_out: list[int] = []
    with reading(engine) as c:
        for version_id, patient, held in snapshots.hospital_reports(c, snapshot_id, sources):
            split = split_of(patient)
            if split == "train":
                (labelled if held else others).append((version_id, patient))
            elif split == "calibration":
                held_out.append(version_id)
    return labelled, others, held_out


def _with_sha(engine: Engine, corpus: Corpus) -> Corpus:
    """Of the texts: a database that was restored gives the same numbers out again, to other reports."""
    sha = hashlib.sha256()
    for page in owned_texts(engine, corpus):
        for patient, text in page:
            sha.update(repr((patient, text)).encode())
    sha.update(repr(exam_texts(engine, corpus)).encode())
    return replace(corpus, sha=sha.hexdigest())


def owned_texts(engine: Engine, corpus: Corpus) -> Iterator[list[tuple[str, str]]]:
    """Pages of (patient, text), in the order of the corpus; what was erased meanwhile is left out.

    No transaction is open while the caller works on a page.
    """
    for start in range(0, len(corpus.taught), TEXTS_A_PAGE):
        page = dict(corpus.taught[start : start + TEXTS_A_PAGE])
        with reading(engine) as c:
            found = reports.texts(c, list(page))
        yield [(page[version_id], text) for version_id, text in found.items()]


def exam_texts(engine: Engine, corpus: Corpus) -> list[str]:
    with reading(engine) as c:
        return list(reports.texts(c, corpus.exam).values())


class ErasedMeanwhile(LaudosError):
    """A report was removed on request while an encoder learnt from it."""


def require_all(engine: Engine, corpus: Corpus) -> None:
    """Raise ErasedMeanwhile where a report that teaches was removed since."""
    with reading(engine) as c:
        gone = snapshots.erased(c, [version_id for version_id, _ in corpus.taught])
    if gone:
        raise ErasedMeanwhile(
            f"{gone:,} reports were erased while an encoder learnt from them: what it learnt and its tokens "
            'are thrown away; run "laudos pretrain" again, and it begins anew without them'
        )
