"""`garbage`: thousands of bad reports and rows; each is cleaned, quarantined or refused, none lost.

What a database itself does not take (a NUL in PostgreSQL's text, half of a surrogate pair) never stood
at the hospital: it is counted as refused, and such texts go to the cleaner by themselves. Everything is
compared twice, and the second time must change nothing; then it is followed once by its moments.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from db import careless
from db.engine import reading, writing
from db.trial import taken_in
from tasks.ledger import Counts
from tasks.ml.errors import Unreadable
from tasks.ml.reading.cleaning import clean
from tasks.torture import controls, ingesting, oracle
from tasks.torture.rubbish import rubbish, texts
from tasks.torture.scenario import Control, Load, Result, Scenario, Violation
from tasks.torture.scratch import Scratch, source_keys

# every reason there is for a row to wait; a generator that no longer reaches one has gone stale
REASONS = {
    "no_text", "empty", "no_letters", "too_long", "pdf", "binary", "no_id", "unfit_id",
    "conflicting_content", "unknown_label",
}  # fmt: skip
ONLY_SQLITE = {"not_text"}  # elsewhere a column of text holds nothing else


def run(world: Scratch, load: Load) -> Result:
    rows = rubbish(world.rng, load.rows)
    stood: dict[str, set[str]] = defaultdict(set)  # table -> the shas of what it holds
    refused = 0
    with writing(world.hospital.engine) as c:
        careless.create(c)
        for row in rows:
            values = (row.id, row.text, row.updated_at, row.date, row.label)
            place = careless.put(c, values, as_text=row.as_text)
            if place is None:
                refused += 1
            else:
                stood[place[0]].add(place[1])
    names = careless.tables(world.hospital.engine)
    url = world.hospital.url
    world.configure(
        sources={name: source_keys(url, table=name, patient=None, page_rows=500) for name in names}
    )
    found = [violation for name in names for violation in _read(world, name, stood[name])]
    direct = texts(world.rng, load.rows)
    found += cleaned(direct)
    with reading(world.engine) as c:
        reasons = careless.reasons(c)
    counts = {
        "bad rows": len(rows),
        "of them refused by the database itself": refused,
        "bad texts cleaned by themselves": len(direct),
        **{f"quarantined as {reason}": rows for reason, rows in sorted(reasons.items())},
    }
    stale = (REASONS | (ONLY_SQLITE if world.server is None else set())) - set(reasons)
    if stale:
        found.append(Violation("every_reason_is_reached", ", ".join(sorted(stale))))
    return Result(counts, tuple(found))


def _read(world: Scratch, name: str, stood: set[str]) -> Iterator[Violation]:
    """Compare, compare again, follow; then hold what was taken in against what stood there."""
    world.progress(f"reading {name}")
    first, second, _ = (
        world.run(ingesting.once, full, 0.0, name, check="no_crash").told[-1] for full in (True, True, False)
    )
    if not isinstance(first, Counts) or not isinstance(second, Counts):
        return  # it crashed, and that was told
    with reading(world.hospital.engine) as c:
        there = careless.count(c, name)
    with reading(world.engine) as c:
        ours = taken_in(c, name)
    if first.read != there or second.read != there:
        yield Violation("every_row_is_read", f"{there} rows stood there, {first.read} were read")
    yield from oracle.counted(ours)
    if second.new or second.updated or second.quarantined != first.quarantined:
        yield Violation("a_second_reading_changes_nothing", f"{first}, then {second}")
    kept = {sha for shas in ours.versions.values() for sha in shas} | {sha for _, sha in ours.quarantined}
    if stood - kept:
        yield Violation("no_content_lost", f"{len(stood - kept)} contents of {name} are nowhere")


def cleaned(raw_texts: list[object]) -> Iterator[Violation]:
    """What cleaning makes of each text: fit to be stored and read, or a reason; never anything else."""
    crashes: Counter[str] = Counter()
    unfit = 0
    for raw in raw_texts:
        try:
            text = clean(raw).text
        except Unreadable:
            continue
        except Exception as error:
            crashes[type(error).__name__] += 1
            continue
        unfit += "\0" in text or (not text.isprintable() and _has_surrogates(text))
    if crashes:
        yield Violation("no_crash", ", ".join(f"{count} {name}" for name, count in crashes.items()))
    if unfit:
        yield Violation("cleaned_is_fit", f"{unfit} cleaned texts cannot be stored")


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


GARBAGE = Scenario(
    name="garbage",
    what="thousands of bad rows and texts: each is cleaned, quarantined or refused, and none is lost",
    run=run,
    small=Load(rows=700),
    full=Load(rows=10_000),
    controls=(
        Control(
            "cleaner",
            "a cleaner that gives up on one kind of text",
            controls.cleaner,
            ("no_crash",),
        ),
        Control(
            "quarantine",
            "refused rows that are dropped",
            controls.quarantine_drops,
            ("no_content_lost",),
        ),
    ),
)
