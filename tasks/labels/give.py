"""`laudos labels give`: what a person says that reports are, which counts before what their source says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from db import audit, erasure, labels, reports
from db.engine import writing
from db.errors import ConfigurationError, NothingToWorkOn
from db.labels import Label
from db.source_values import as_key
from tasks.classifiers import the_classifier
from tasks.database import open_database
from tasks.intake.intake import label_for
from tasks.person import named
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.table_files import pieces, require_column

COLUMNS = ("source", "external_id", "label")
ROWS_A_PIECE = 5000
PLACES_TOLD = 20


@dataclass(frozen=True)
class Said:
    """What a person says of a report; a blank `value` says nothing."""

    source: str | None
    external_id: str | None = field(repr=False)
    value: str | None = field(repr=False)


@dataclass(frozen=True)
class Given:
    """How many reports bear a label of this person that they did not before, or another one than before.

    `as_before`: those that bore it already; `blank`: rows without a label, left alone; `teaches`: whether
    training learns from feedback.
    """

    classifier: str
    by: str
    new: int
    replaced: int
    as_before: int
    blank: int
    teaches: bool


def label_give(settings: Settings, classifier: str | None, said: Iterable[Said], by: str | None) -> Given:
    """Write each label on its report's current version, in place of what the same person said of it before.

    All or none: raises ConfigurationError where one of them does not fit, by its place among those given,
    and NothingToWorkOn where none is given.
    """
    actor, name = named(by), the_classifier(settings, classifier)
    asked, given = settings.classifier(name), list(said)
    if not any(one.value for one in given):
        raise NothingToWorkOn("no label was given: every label is blank, or there is no row")
    now = datetime.now(UTC)
    with writing(open_database(settings)) as c:
        erasure.held_off(c)
        values = _by_version(c, name, asked, given)
        before = {
            version: value
            for (version, of), value in labels.labels_of(c, [*values], "feedback", actor).items()
            if of == name
        }
        changed = {version: value for version, value in values.items() if before.get(version) != value}
        labels.put_labels(c, (Label(at, name, "feedback", actor, changed[at]) for at in changed), now)
        if changed:
            detail = {"report_versions": sorted(changed)}
            subject = f"classifier {name}"
            audit.record(c, actor=actor, action="labelled", subject=subject, detail=detail, now=now)
    replaced = len(before.keys() & changed.keys())
    return Given(
        classifier=name,
        by=actor,
        new=len(changed) - replaced,
        replaced=replaced,
        as_before=len(values) - len(changed),
        blank=sum(not one.value for one in given),
        teaches="feedback" in asked.training_labels,
    )


def in_file(path: Path) -> Iterator[Said]:
    """The rows of a .csv or .parquet with the columns source, external_id and label."""
    for table in pieces(path, ROWS_A_PIECE):
        for column in COLUMNS:
            require_column(path, table, column, f"it needs {', '.join(COLUMNS)}")
        rows = zip(*(table[column].to_pylist() for column in COLUMNS), strict=True)
        yield from (Said(*map(as_key, row)) for row in rows)


def _by_version(c: Connection, name: str, asked: ClassifierSettings, given: list[Said]) -> dict[int, str]:
    """Current report version -> label. Raises ConfigurationError; quotes nothing that a file may hold."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for one in given:
        if one.source and one.external_id and one.value:
            wanted[one.source].add(one.external_id)
    sources = {source: erasure.source_id(c, source) for source in wanted}
    known = {
        source: reports.known(c, number, sorted(wanted[source]))
        for source, number in sources.items()
        if number is not None
    }
    values: dict[int, str] = {}
    faults: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(given, start=1):
        if not one.value:
            continue
        label = label_for(one.value, asked)
        found = known.get(one.source or "", {}).get(one.external_id or "")
        if one.source not in known:
            fault = 'no such source was ever read ("laudos status" lists those that were)'
        elif asked.sources is not None and one.source not in asked.sources:
            fault = f"{name} does not read that source (sources of [classifiers.{name}])"
        elif found is None:
            fault = 'no report of that id came in from there (look the id up, or run "laudos ingest")'
        elif found.erased:
            fault = "the report was erased on request, and bears no label any more (leave it out)"
        elif found.deleted:
            fault = 'the report is gone at its source (leave it out, or run "laudos ingest" once it is back)'
        elif label is None:
            fault = f"the label is none of {name}'s (take one of: {', '.join(asked.labels)})"
        elif values.setdefault(found.version_id, label) != label:
            fault = "the report has another label further up (leave one of the two)"
        else:
            continue
        faults[fault].append(place)
    if faults:
        told = "; ".join(
            f"number {_places(places)} of those given: {what}" for what, places in faults.items()
        )
        raise ConfigurationError(f"no label was written. {told}")
    return values


def _places(places: list[int]) -> str:
    return ", ".join(map(str, places[:PLACES_TOLD])) + (" ..." if len(places) > PLACES_TOLD else "")
