"""From rows as read to reports: what is new, what changed, what cannot be taken in.

Deciding reads but does not write; the write is one transaction a page, in tasks.intake.ingest and
tasks.intake.quarantine. Cleaning is spared where the raw sha says that nothing changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from db import groups, labels, ledger, quarantine, reports
from db.groups import Groups
from db.quarantine import UNKNOWN_LABEL, Refused
from db.reports import Content, Known
from tasks.intake.rows import Row, fit_id, without_fraction
from tasks.ml.errors import Unreadable
from tasks.ml.faultpoints import reach
from tasks.ml.reading.cleaning import CLEANING_REVISION, clean
from tasks.settings.settings import ClassifierSettings

CONFLICTING = "conflicting_content"


@dataclass(frozen=True)
class Page:
    """What becomes of a page's rows. `standing`: rows whose report is as we know it, by external id."""

    read: int
    known: Mapping[str, Known]
    contents: list[Content] = field(default_factory=list)
    standing: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    said: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # external id -> classifier -> value as read
    groups: dict[str, Groups] = field(default_factory=dict)  # external id -> its patient's, where told

    @property
    def counts(self) -> ledger.Counts:
        updated = sum(one.external_id in self.known for one in self.contents)
        new = len(self.contents) - updated
        unchanged = self.read - len(self.contents) - len(self.refused)
        return ledger.Counts(self.read, new, updated, unchanged, len(self.refused))

    @property
    def report_ids(self) -> set[int]:
        """The reports known before that this page showed to stand at their source, readable or not."""
        return {found.report_id for found in self.known.values()}


def decide(
    c: Connection,
    source_id: int,
    rows: Sequence[Row],
    *,
    whole: bool = False,
    met: Callable[[int], bool] | None = None,
) -> Page:
    """Sort a page's rows: reads what is known of them, cleans what is new. Writes nothing.

    `whole`: all rows of each report are here. Then an old state, or one without a date, that stands alone
    is no history shown again: the source went back to it. `met`: whether the same reading of the whole
    source has brought a report before. A row of it with another text is a conflict, then: it would be news
    every night, and so would the first.
    """
    identified = [row for row in rows if fit_id(row.external_id)]
    known = reports.known(c, source_id, list({str(row.external_id) for row in identified}))
    page = Page(len(rows), known)
    if len(identified) < len(rows):
        page.refused.extend(
            row.refused("no_id" if row.external_id is None else "unfit_id")
            for row in rows
            if not fit_id(row.external_id)
        )
    # what was erased stays erased whatever its row holds now, and must not come back through the quarantine
    erased = {name for name, found in known.items() if found.erased}
    there = [row for row in identified if row.external_id not in erased] if erased else identified
    chosen = _one_a_report(there, page)
    if known and met is not None:
        chosen = _unless_met(chosen, page, met)
    older = [row for row in chosen if _is_older(row, known)] if known and not whole else []
    earlier = reports.earlier_shas(c, [known[str(row.external_id)].report_id for row in older])
    for row in chosen:
        if whole or not _is_dateless(row, known):
            _place(row, page, earlier)
    return page


def write(
    c: Connection,
    run_id: int,
    source_id: int,
    source_name: str,
    page: Page,
    classifiers: Mapping[str, ClassifierSettings],
    now: datetime,
    again: Sequence[int] | None = None,
) -> None:
    """Write a page: reports, versions, labels, quarantine and its share of the ledger.

    `again`: the rows of the quarantine that it was read from; None where its source was read.
    """
    versions = reports.take_in(c, run_id, source_id, page.contents, page.known, now)
    reach("ingest.page.reports")
    _keep_up(c, page)
    versions |= {str(row.external_id): page.known[str(row.external_id)].version_id for row in page.standing}
    if page.groups:
        standing = [page.known[str(row.external_id)].version_id for row in page.standing]
        groups.put(c, {versions[name]: one for name, one in page.groups.items()}, standing)
    unknown = _put_labels(c, source_name, page, versions, classifiers, now)
    reach("ingest.page.labels")
    # what waited for these reports is out of date, taken in or not; what still holds is added again
    if again is None:
        read_again = {*versions, *(one.external_id for one in page.refused if one.external_id)}
        quarantine.resolve(c, source_id, list(read_again), now, labels=False)
    else:
        quarantine.close(c, again, now, quarantine.READ_AGAIN)
    quarantine.resolve(c, source_id, list(versions), now, labels=True)
    quarantine.add(c, run_id, source_id, [*page.refused, *unknown], now)
    reach("ingest.page.quarantine")
    ledger.add_batch(c, run_id, source_id, page.counts, now)
    reach("ingest.page.ledger")


def _one_a_report(rows: Sequence[Row], page: Page) -> Sequence[Row]:
    """One row a report. Of several contents the latest counts; where none is the latest, none does."""
    if len({row.external_id for row in rows}) == len(rows):
        return rows
    by_report: dict[str, list[Row]] = {}
    for row in rows:
        by_report.setdefault(str(row.external_id), []).append(row)
    chosen = []
    for same in by_report.values():
        latest = max(same, key=lambda row: (row.updated_at is not None, row.updated_at or 0))
        rivals = [row for row in same if row.raw_sha != latest.raw_sha]
        page.refused.extend(row.refused(CONFLICTING) for row in rivals)
        if any(row.updated_at == latest.updated_at for row in rivals):
            twins = [row for row in same if row.raw_sha == latest.raw_sha]
            page.refused.extend(row.refused(CONFLICTING) for row in twins)
        else:
            chosen.append(latest)
    return chosen


def _unless_met(rows: Sequence[Row], page: Page, met: Callable[[int], bool]) -> Sequence[Row]:
    """The rows without those whose id, written in another way, has brought another text already."""
    again = [
        row
        for row in rows
        if (found := page.known.get(str(row.external_id))) is not None
        and found.raw_sha != row.raw_sha
        and met(found.report_id)
    ]
    if not again:
        return rows
    page.refused.extend(row.refused(CONFLICTING) for row in again)
    names = {row.external_id for row in again}
    return [row for row in rows if row.external_id not in names]


def _is_older(row: Row, known: Mapping[str, Known]) -> bool:
    """Whether the row is older than what we have: a history table shows each of its states again."""
    found = known.get(str(row.external_id))
    return (
        found is not None
        and found.updated_at is not None
        and row.updated_at is not None
        and row.updated_at < found.updated_at
        and row.raw_sha != found.raw_sha
    )


def _is_dateless(row: Row, known: Mapping[str, Known]) -> bool:
    """Whether the row has no date, and another text than the dated one that we have: which of them is the
    older only a comparison of everything can tell."""
    if row.updated_at is not None:
        return False
    found = known.get(str(row.external_id))
    return found is not None and found.updated_at is not None and row.raw_sha != found.raw_sha


def _place(row: Row, page: Page, earlier: set[tuple[int, str]]) -> None:
    external_id = str(row.external_id)
    found = page.known.get(external_id)
    if found is not None and (found.report_id, row.raw_sha) in earlier:
        return  # unchanged: an earlier version is not news
    if found is not None and found.raw_sha == row.raw_sha:
        page.standing.append(row)
        page.said[external_id] = row.labels
        _note_groups(row, page)
        return
    try:
        cleaned = clean(row.text)
    except Unreadable as unreadable:
        page.refused.append(row.refused(unreadable.reason))
        return
    page.said[external_id] = row.labels
    _note_groups(row, page)
    page.contents.append(
        Content(
            external_id,
            row.patient_key,
            row.raw_sha,
            cleaned.text,
            CLEANING_REVISION,
            cleaned.repairs,
            row.date,
            row.updated_at,
        )
    )


def _note_groups(row: Row, page: Page) -> None:
    if row.groups is not None:
        page.groups[str(row.external_id)] = row.groups


def _keep_up(c: Connection, page: Page) -> None:
    """What can change of a report without its text: it is back, or its patient was corrected."""
    reports.revive(c, [found.report_id for found in page.known.values() if found.deleted])
    keys = {str(row.external_id): row.patient_key for row in page.standing}
    keys |= {one.external_id: one.patient_key for one in page.contents if one.external_id in page.known}
    corrected = {
        page.known[name].report_id: key for name, key in keys.items() if page.known[name].patient_key != key
    }
    reports.regroup(c, corrected)


def _put_labels(
    c: Connection,
    source_name: str,
    page: Page,
    versions: Mapping[str, int],
    classifiers: Mapping[str, ClassifierSettings],
    now: datetime,
) -> list[Refused]:
    """Mirror what the source says of its reports; returns the values that are none of the labels."""
    standing = [page.known[str(row.external_id)].version_id for row in page.standing]
    before = labels.labels_of(c, standing, "source", source_name) if classifiers else {}
    now_said: dict[tuple[int, str], str] = {}
    unknown: list[Refused] = []
    for external_id, said in page.said.items():
        for classifier, value in said.items():
            if classifier not in classifiers:  # laudos.toml names no such column since the row was read
                continue
            label = label_for(value, classifiers[classifier])
            if label is None:
                unknown.append(refused_label(external_id, classifier, value))
            else:
                now_said[versions[external_id], classifier] = label
    stood = set(standing)
    first: list[labels.Label] = []
    changed: list[labels.Label] = []
    for (version, classifier), value in now_said.items():
        if before.get((version, classifier)) != value:
            said_now = labels.Label(version, classifier, "source", source_name, value)
            (changed if version in stood else first).append(said_now)
    labels.add_labels(c, first, now)
    labels.put_labels(c, changed, now)
    # of a column that laudos.toml no longer names nobody knows what it says now
    gone = [key for key in before if key not in now_said and key[1] in classifiers]
    labels.withdraw(c, gone, "source", source_name)
    return unknown


def label_for(value: str, classifier: ClassifierSettings) -> str | None:
    """The label that a source's value stands for; None where it stands for none."""
    names = {label: label for label in classifier.labels} | classifier.label_values
    folded = {name.casefold(): label for name, label in names.items()}
    return names.get(value) or folded.get(value.casefold()) or names.get(without_fraction(value))


def refused_label(external_id: str, classifier: str, value: str) -> Refused:
    """A label that is none of the classifier's; its report was taken in without it."""
    sha = hashlib.sha256(f"{classifier}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()
    payload = {"external_id": external_id, "classifier": classifier, "value": value}
    return Refused(external_id, sha, UNKNOWN_LABEL, payload, classifier)
