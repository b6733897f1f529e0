"""A family of properties tested together: what may wait for the findings to explain it, and what may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from tasks.ml.arrays import Bools, Floats, Ints
from tasks.ml.audit.chance import Chance
from tasks.ml.audit.corpus import Units
from tasks.ml.audit.result import Check, Evidence, verdict
from tasks.ml.audit.words import Counted

LEVEL = 0.0001  # family-wise, a check
SHOWN = 10  # of what a check found, the surest first
UNITS_MIN = 4  # units that must bear a property: what fewer bear is row identity's business

MEASURE = "family-wise p"
GIVEN, OUTRIGHT = "given the measurements", "outright"


@dataclass(frozen=True)
class Family:
    """Properties of texts, averaged over each unit's reports.

    `apart` marks those that no finding can explain, so that they must be independent of the label outright.
    """

    names: Sequence[str]
    values: Floats  # (units, properties)
    reports: Ints  # (properties,) how many reports bear each
    apart: Bools
    bits: Floats | None = None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Nulls:
    """How chance is judged. `given` is None where there are no measurements."""

    units: Units
    given: Chance | None
    outright: Chance

    def examine(self, family: Family) -> tuple[Floats, Ints]:
        """Family-wise p of every property, and the label each goes with.

        Without measurements everything is held against the labels' shares.
        """
        p, label = np.ones(len(family)), np.zeros(len(family), dtype=np.int64)
        apart = np.ones(len(family), dtype=bool) if self.given is None else family.apart
        for chosen, chance in ((~apart, self.given), (apart, self.outright)):
            if chance is not None and chosen.any():
                tested = chance.test(family.values[:, chosen])
                p[chosen], label[chosen] = tested.p, tested.label
        return np.minimum(1.0, p * len(family)), label

    def check(self, name: str, family: Family) -> Check:
        """Failed where any property of the family is surer than LEVEL."""
        if not len(family):
            return Check(name, "passed", MEASURE, None, LEVEL, 0, note="nothing of the kind occurs")
        p, label = self.examine(family)
        sure = np.flatnonzero(p <= LEVEL)
        found = self.evidence(family, p, label, sure)
        state = verdict(sure.size > 0)
        return Check(name, state, MEASURE, float(p.min()), LEVEL, len(family), found)

    def evidence(self, family: Family, p: Floats, label: Ints, which: Ints) -> tuple[Evidence, ...]:
        """The surest of these properties, for a person."""
        order = which[np.argsort(p[which], kind="stable")][:SHOWN]
        return tuple(
            Evidence(
                family.names[one],
                self.units.labels[label[one]],
                int(family.reports[one]),
                float(p[one]),
                None if family.bits is None else float(family.bits[one]),
                OUTRIGHT if self.given is None or family.apart[one] else GIVEN,
            )
            for one in order
        )


def of_phrases(counted: Counted, units: Units, apart: Sequence[bool] | Bools) -> Family:
    """Phrases as a family: the share of a unit's reports that hold each."""
    values = (units.averaging @ counted.presence).toarray()
    kept = (values > 0).sum(axis=0) >= min(UNITS_MIN, len(units) // 2)
    return Family(
        [name for name, keep in zip(counted.phrases, kept, strict=True) if keep],
        values[:, kept],
        counted.reports[kept],
        np.asarray(apart, dtype=bool)[kept],
        information(counted.presence, units)[kept],
    )


def of_properties(names: Sequence[str], values: Floats, units: Units, apart: Sequence[bool]) -> Family:
    """Figures of each report, (reports, properties), as a family; what never varies is left out."""
    varies = np.ptp(values, axis=0) > 0 if len(values) else np.zeros(len(names), dtype=bool)
    kept = values[:, varies]
    return Family(
        [name for name, keep in zip(names, varies, strict=True) if keep],
        np.asarray(units.averaging @ kept),
        (kept != 0).sum(axis=0),
        np.asarray(apart, dtype=bool)[varies],
    )


def information(presence: csr_matrix, units: Units) -> Floats:
    """(phrases,) bits that a phrase's presence in a report tells of that report's label."""
    reports = presence.shape[0]
    labels = np.eye(len(units.labels))[units.report_truth]
    held = np.asarray(presence.T @ labels) / reports  # (phrases, labels) joint share
    share = labels.mean(axis=0)
    total = np.zeros(held.shape[0])
    for joint, among in ((held, held.sum(axis=1)), (share - held, 1 - held.sum(axis=1))):
        expected = among[:, None] * share
        ratio = np.divide(joint, expected, out=np.ones_like(joint), where=(joint > 0) & (expected > 0))
        total += (joint * np.log2(ratio)).sum(axis=1)
    return np.maximum(total, 0.0)
