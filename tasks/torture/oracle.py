"""What laudos took in, held against the hospital that knows what it has: nothing lost, nothing made up.

Call it after an ingest that nothing disturbed. It reads both databases and trusts neither the ledger
nor the cleaner: the hospital's own diary says what stood there and whether it could be read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from db.engine import reading
from db.trial import Standing, TakenIn, taken_in
from tasks.torture.scenario import Violation
from tasks.torture.scratch import SOURCE, Scratch


def compare(world: Scratch) -> list[Violation]:
    """Everything that is not as it must be, a violation a check with the first few ids."""
    with reading(world.engine) as c:
        ours = taken_in(c, SOURCE)
    theirs = world.hospital.standing()
    found = {
        "source_is_here": _not_here(ours, theirs),
        "bad_rows_wait": _not_waiting(ours, theirs),
        "gone_is_gone": set(ours.current) - {row.id for row in theirs if row.id is not None},
        "nothing_made_up": _made_up(ours, world.hospital.ever()),
        "nothing_taken_in_twice": _twice(ours),
        "runs_end_after_they_began": map(str, ours.runs_ended_early),
    }
    told = [_violation(check, sorted(ids)) for check, ids in found.items()]
    return [*(one for one in told if one), *counted(ours)]


def missing(world: Scratch) -> list[str]:
    """Ids of sound rows at the hospital whose content is not the current version."""
    with reading(world.engine) as c:
        ours = taken_in(c, SOURCE)
    return sorted(_not_here(ours, world.hospital.standing()))


def _not_here(ours: TakenIn, theirs: Iterable[Standing]) -> Iterator[str]:
    for external_id, rows in _by_id(theirs).items():
        chosen = _latest(rows)
        if chosen is not None and chosen.sound and ours.current.get(external_id) != chosen.sha:
            yield external_id


def _not_waiting(ours: TakenIn, theirs: Iterable[Standing]) -> Iterator[str]:
    """Rows that cannot be taken in, or that contradict another of their id, and lie in no quarantine."""
    theirs = list(theirs)
    for external_id, rows in _by_id(theirs).items():
        chosen = _latest(rows)
        refused = {row.sha for row in rows if chosen is None or row.sha != chosen.sha or not row.sound}
        if any((external_id, sha) not in ours.waiting for sha in refused):
            yield external_id
    if any(("", row.sha) not in ours.waiting for row in theirs if row.id is None):
        yield "a row without an id"


def _made_up(ours: TakenIn, ever: set[tuple[str, str]]) -> Iterator[str]:
    for external_id, shas in ours.versions.items():
        if any((external_id, sha) not in ever for sha in shas):
            yield external_id
    yield from (external_id or "a row without an id" for external_id, sha in ours.quarantined - ever)


def _twice(ours: TakenIn) -> Iterator[str]:
    """One content as two versions in a row: it was taken in a second time."""
    for external_id, shas in ours.versions.items():
        if any(one == following for one, following in pairwise(shas)):
            yield external_id


def counted(ours: TakenIn) -> Iterator[Violation]:
    """The ledger must have counted each report once as new, and each further version once as updated."""
    versions = Counter(len(shas) - 1 for shas in ours.versions.values())
    written = len(ours.versions), sum(further * reports for further, reports in versions.items())
    counted = ours.counted_new, ours.counted_updated
    if written != counted:
        yield Violation(
            "counts_in_are_counts_out",
            f"{written[0]} reports and {written[1]} further versions are there, "
            f"{counted[0]} and {counted[1]} were counted",
        )


def _by_id(rows: Iterable[Standing]) -> dict[str, list[Standing]]:
    found: dict[str, list[Standing]] = defaultdict(list)
    for row in rows:
        if row.id is not None:
            found[row.id].append(row)
    return found


def _latest(rows: list[Standing]) -> Standing | None:
    """Of several contents the one changed last; None where two are."""
    last = max((row.updated_at for row in rows if row.updated_at is not None), default=None)
    latest = [row for row in rows if row.updated_at == last]
    return latest[0] if len({row.sha for row in latest}) == 1 else None


def _violation(check: str, ids: list[str]) -> Violation | None:
    if not ids:
        return None
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return Violation(check, ", ".join(ids[:5]) + more)
