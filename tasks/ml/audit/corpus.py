"""What is audited: texts with labels, in groups that share one set of measurements, and a sample of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix

from tasks.ml.arrays import Floats, Ints
from tasks.ml.errors import UnfitData

GROUPS_MAX = 1500  # what is known of groups is a matrix of groups x groups
REPORTS_MAX = 8000


@dataclass(frozen=True)
class Corpus:
    """Reports to audit. All sequences have one entry a report.

    `groups` are rows of a table of measurements, or patients. `measurements`: group -> values.
    `findings_words`: every word, plain (see wording.plain), that a finding may be told in; where they are
    known, anything else must be independent of the label outright. `label_words`: beginnings of plain words
    that name or mean a label, besides the labels' own names.
    """

    texts: Sequence[str]
    labels: Sequence[str]
    groups: Sequence[str]
    measurements: Mapping[str, Sequence[float]] | None = None
    splits: Sequence[str] | None = None
    findings_words: frozenset[str] | None = None
    label_words: Sequence[str] = ()

    def checked(self) -> Corpus:
        """Itself. Raises UnfitData where it cannot be audited at all."""
        lengths = {len(self.labels), len(self.groups), len(self.splits or self.texts)}
        if lengths != {len(self.texts)}:
            raise UnfitData("texts, labels, groups and splits must have one entry a report each")
        groups_of = Counter(label for label, _ in set(zip(self.labels, self.groups, strict=True)))
        if len(groups_of) < 2:
            raise UnfitData("an audit needs reports of two labels at least")
        lone = sorted(label for label, groups in groups_of.items() if groups < 2)
        if lone:
            raise UnfitData(
                f"{', '.join(lone)}: a label of a single row or patient cannot be audited; leave it out"
            )
        missing = set(self.groups) - set(self.measurements or self.groups)
        if missing:
            raise UnfitData(f"{len(missing)} groups have no measurements; give all of them, or none")
        return self

    def sampled(self, groups_max: int = GROUPS_MAX, reports_max: int = REPORTS_MAX) -> Corpus:
        """Itself where it is small enough; else whole groups by hash, and the first reports of each."""
        keys = sorted(set(self.groups), key=lambda key: hashlib.sha256(f"audit\0{key}".encode()).digest())
        kept = set(keys[:groups_max])
        each = max(1, reports_max // len(kept))
        seen: Counter[str] = Counter()
        places = []
        for place, group in enumerate(self.groups):
            seen[group] += 1
            if group in kept and (seen[group] <= each or len(self.texts) <= reports_max):
                places.append(place)
        return self if len(places) == len(self.texts) else self._only(places)

    def _only(self, places: Sequence[int]) -> Corpus:
        return replace(
            self,
            texts=[self.texts[place] for place in places],
            labels=[self.labels[place] for place in places],
            groups=[self.groups[place] for place in places],
            splits=None if self.splits is None else [self.splits[place] for place in places],
        )


@dataclass(frozen=True)
class Units:
    """What the tests count: a group; or without measurements, a group's reports of one label.

    Reports of one group share their measurements, so they are no independent witnesses: every property of a
    text enters as its mean over the unit's reports.
    """

    labels: tuple[str, ...]
    keys: tuple[str, ...]  # (units,) the group
    of_report: Ints  # (reports,)
    truth: Ints  # (units,) index of the label most of its reports have
    report_truth: Ints  # (reports,)

    @classmethod
    def of(cls, corpus: Corpus) -> Units:
        labels = tuple(sorted(set(corpus.labels)))
        number = {label: index for index, label in enumerate(labels)}
        report_truth = np.array([number[label] for label in corpus.labels], dtype=np.int64)
        names = [
            (group, "" if corpus.measurements is not None else label)
            for group, label in zip(corpus.groups, corpus.labels, strict=True)
        ]
        place = {name: index for index, name in enumerate(dict.fromkeys(names))}
        of_report = np.array([place[name] for name in names], dtype=np.int64)
        votes = np.zeros((len(place), len(labels)))
        np.add.at(votes, (of_report, report_truth), 1)
        keys = tuple(group for group, _ in place)
        return cls(labels, keys, of_report, votes.argmax(axis=1), report_truth)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def one_hot(self) -> Floats:
        """(units, labels)"""
        return np.eye(len(self.labels))[self.truth]

    @property
    def averaging(self) -> csr_matrix:
        """(units, reports): times a property of each report, its mean a unit."""
        sizes = np.bincount(self.of_report, minlength=len(self))
        return csr_matrix(
            (1 / sizes[self.of_report], (self.of_report, np.arange(len(self.of_report)))),
            shape=(len(self), len(self.of_report)),
        )
