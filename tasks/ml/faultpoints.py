"""Named places where `laudos torture` lets a process die or its connection break.

Off, which is always but in a child of a torture run, a place costs one comparison with None.
"""

from __future__ import annotations

from collections.abc import Callable

Strike = Callable[[str], None]

POINTS = (
    # a source's turn is taken; nothing is read yet
    "ingest.turn.begun",
    # a page is cleaned and sorted, nothing of it is written
    "ingest.page.decided",
    # inside the page's one transaction
    "ingest.page.reports",
    "ingest.page.labels",
    "ingest.page.quarantine",
    "ingest.page.ledger",
    "ingest.page.committed",
    # after a full reconciliation: what is gone at the source
    "ingest.deletions.found",
    "ingest.deletions.marked",
    # a page of a synthetic set is written ahead; then inside the one transaction that puts the set in force
    "synthesize.page.committed",
    "synthesize.set.amended",
    "synthesize.set.swapped",
    # a model's folder, from the first byte to its name
    "publish.weights.written",
    "publish.manifest.written",
    "publish.fsynced",
    "publish.renamed",
    # its row: the folder stands, the database does not know it yet
    "train.row.due",
    "train.row.written",
    "train.row.committed",
    # inside the one transaction that makes a champion, and the pointer file after it
    "promote.crowned",
    "promote.recorded",
    "promote.committed",
    "pointer.written",
    # a job is cut; then a chunk's way
    "score.job.cut",
    "score.chunks.taken_over",
    "score.chunk.claimed",
    "score.chunk.encoded",
    "score.finish.begun",
    "score.finish.features",
    "score.finish.predictions",
    "score.finish.committed",
    # the rows of an erasure are gone; then its files, then the pages that held them
    "erase.rows.committed",
    "erase.files.removed",
    "erase.pages.freed",
)

_strike: Strike | None = None


def reach(point: str) -> None:
    """Say that the process is at `point`, one of POINTS."""
    if _strike is not None:
        _strike(point)


def arm(strike: Strike | None) -> None:
    """From now on every place that is reached calls `strike` with its name; None is off again."""
    global _strike
    _strike = strike
