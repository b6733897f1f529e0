"""What of a report is no finding: its length, its marks, its layout, its numbers, its twins.

Each kind is a check: single properties, and a classifier that is given nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from tasks.ml.arrays import Floats
from tasks.ml.audit.corpus import Units
from tasks.ml.audit.family import LEVEL, MEASURE, Family, Nulls, of_properties
from tasks.ml.audit.ground import Ground
from tasks.ml.audit.measured import out_of_fold
from tasks.ml.audit.result import Check
from tasks.ml.judging.ranking import ranked_areas

AUROC_MIN = 0.65  # without measurements, a shortcut that answers worse than this is let pass

# a name, what it reads off a text, and whether a finding could be the reason for it
Property = tuple[str, Callable[[str], float], bool]

_LETTER = re.compile(r"[^\W\d_]")
_CLAUSE = re.compile(r"[.;]\s+|\n[ \t]*[-•*]?[ \t]*")
_CAPITALS = re.compile(r"[^\W\d_a-zà-ÿ][^a-zà-ÿ\n]{14,}")
_SENTENCE = re.compile(r"[.;!?](?:\s|$)|\n")
HEADING = re.compile(r"(?m)^[ \t]*([^\W\d_][^\n:.;!?,]{1,48}?)[ \t]*(?::[ \t]*(\n)?|(\n))")


def _count(pattern: str) -> Callable[[str], float]:
    found = re.compile(pattern)
    return lambda text: float(len(found.findall(text)))


def _has(pattern: str) -> Callable[[str], float]:
    found = re.compile(pattern)
    return lambda text: float(found.search(text) is not None)


def _per_100(mark: str) -> Callable[[str], float]:
    return lambda text: 100 * text.count(mark) / max(len(text), 1)


LENGTH: tuple[Property, ...] = (
    ("characters", lambda text: float(len(text)), True),
    ("sentences", _count(_SENTENCE.pattern), True),
    ("characters a sentence", lambda text: len(text) / (1 + len(_SENTENCE.findall(text))), True),
)
MARKS: tuple[Property, ...] = (
    *((f"{mark!r} a hundred characters", _per_100(mark), True) for mark in ",.;:-()/"),
    ("ends in a full stop", _has(r"\.\s*\Z"), False),
    ("longest run of one mark", lambda text: _longest_run(text), False),
    ("ends in another mark", _has(r"[^\w\s.]\s*\Z"), False),
    *((f"holds {name}", _has(pattern), False) for name, pattern in (
        ("an exclamation or question mark", r"[!?]"),
        ("quotation marks", r"[\"'“”«»‘’]"),
        ("double blanks", r"\S {2,}\S"),
        ("a blank before a mark", r"\w +[.,;:]"),
        ("a mark without a blank", r"[^\W\d_][,;.][^\W\d_]"),
        ("a repeated mark", r"([,;.:])\s*\1"),
        ("a dash with blanks", r" [-–—] "),
        ("blanks at the end of a line", r"[ \t]+(?:\n|\Z)"),
        ("stars, underscores or other signs", r"[*_=+#~|<>@]"),
    )),
)  # fmt: skip
LAYOUT: tuple[Property, ...] = (
    ("lines", lambda text: float(text.count("\n")), True),
    ("listed lines", _count(r"(?m)^[ \t]*[-•*]"), True),
    ("share of capitals", lambda text: _capitals(text), True),
    ("all in capitals", lambda text: float(_capitals(text) > 0.9), False),
    ("a part in capitals", lambda text: _partly(text), False),
    ("clauses in alphabetical order", lambda text: _alphabetical(text), True),
    ("empty lines", _has(r"\n[ \t]*\n"), False),
    ("indented lines", _has(r"(?m)^[ \t]+\S"), False),
    ("headings", lambda text: float(len(HEADING.findall(text))), True),
    ("headings in capitals", lambda text: _heading_share(text, lambda one: one[0].isupper()), False),
    ("headings on lines of their own", lambda text: _heading_share(text, lambda one: one[1] + one[2] != ""),
     False),
)  # fmt: skip


def _capitals(text: str) -> float:
    letters = _LETTER.findall(text)
    return float(sum(letter.isupper() for letter in letters) / max(len(letters), 1))


def _longest_run(text: str) -> float:
    return float(max((len(run[0]) for run in re.finditer(r"([^\w\s])\1*", text)), default=0))


def _partly(text: str) -> float:
    """Whether a stretch below the headings is in capitals, where the report as a whole is not."""
    return float(_capitals(text) < 0.5 and _CAPITALS.search(HEADING.sub("\n", text)) is not None)


def _alphabetical(text: str) -> float:
    """Of neighbouring clauses, the share that stand in alphabetical order."""
    clauses = [clause.casefold() for clause in _CLAUSE.split(text) if clause]
    return float(sum(one <= other for one, other in pairwise(clauses)) / max(len(clauses) - 1, 1))


def _heading_share(text: str, such: Callable[[tuple[str, str, str]], bool]) -> float:
    found = HEADING.findall(text)
    return float(sum(map(such, found)) / max(len(found), 1))


def of_texts(ground: Ground, properties: Sequence[Property]) -> Family:
    """Each property of every report. Where findings' words are unknown, anything might be a finding's."""
    values = np.array([[read(text) for _, read, _ in properties] for text in ground.corpus.texts])
    apart = [ground.spoken is not None and not explained for _, _, explained in properties]
    return of_properties([name for name, _, _ in properties], values, ground.units, apart)


def length(ground: Ground) -> Check:
    words = ground.words
    outside = ground.apart(words.vocabulary)
    counts = [("words", np.ones(len(outside), dtype=bool), False)]
    if ground.spoken is not None:
        counts.append(("words outside the findings' language", outside, True))
    values = [
        np.bincount(words.report[words.where(which)], minlength=words.reports) for _, which, _ in counts
    ]
    counted = of_properties(
        [name for name, _, _ in counts],
        np.array(values, dtype=np.float64).T,
        ground.units,
        [apart for _, _, apart in counts],
    )
    return shortcut("length", joined(of_texts(ground, LENGTH), counted), ground.nulls)


def marks(ground: Ground) -> Check:
    return shortcut("marks", of_texts(ground, MARKS), ground.nulls)


def layout(ground: Ground) -> Check:
    return shortcut("layout", of_texts(ground, LAYOUT), ground.nulls)


def joined(*families: Family) -> Family:
    return Family(
        [name for family in families for name in family.names],
        np.hstack([family.values for family in families]),
        np.concatenate([family.reports for family in families]),
        np.concatenate([family.apart for family in families]),
    )


def duplicates(ground: Ground) -> Check:
    """Whether a report that is said again word for word tells its label by that."""
    bare = [" ".join(text.split()) for text in ground.plain_texts]
    copies = Counter(bare)
    others = np.array([copies[text] - 1 for text in bare], dtype=np.float64)
    values = np.stack([others > 0, np.log1p(others)], axis=1).astype(np.float64)
    family = of_properties(["has a twin", "how many twins"], values, ground.units, [False, False])
    return shortcut("duplicates", family, ground.nulls)


def shortcut(name: str, family: Family, nulls: Nulls) -> Check:
    """The check of one kind of shortcut: its properties, and what a classifier makes of all of them."""
    if not len(family):
        return Check(name, "passed", MEASURE, note="nothing of the kind occurs")
    units = nulls.units
    scores = out_of_fold(_standard(family.values), units.truth, len(units.labels), C=1.0, folds=5)
    area = mean_auroc(scores, units)
    odds = np.log(np.clip(scores, 1e-6, 1))
    # what is learnt where there is nothing turns out worse than chance on the units left out: that is no leak
    odds[:, ((odds - odds.mean(axis=0)) * units.one_hot).sum(axis=0) <= 0] = 0
    together = Family(
        [*family.names, *(f"all of these, for {label}" for label in units.labels)],
        np.hstack([family.values, odds]),
        np.concatenate([family.reports, np.full(len(units.labels), len(units.of_report))]),
        # a classifier that could draw on findings may be explained by them
        np.concatenate([family.apart, np.full(len(units.labels), bool(family.apart.all()))]),
    )
    check = nulls.check(name, together)
    note = f"a classifier given nothing else: AUROC {area:.3f}"
    state = check.state
    if nulls.given is None and area < AUROC_MIN:
        state = "passed"
        note += f"; below {AUROC_MIN} it is let pass without measurements"
    return Check(name, state, check.measure, check.statistic, LEVEL, check.tested, check.found, note)


def mean_auroc(scores: Floats, units: Units) -> float:
    """Over labels, each against the others; with two labels one is enough."""
    labels = [1] if len(units.labels) == 2 else range(len(units.labels))
    weights = np.ones((1, len(units)))
    areas = [ranked_areas(scores[:, label], units.truth == label, weights)[0][0] for label in labels]
    return float(np.mean(areas))


def _standard(values: Floats) -> Floats:
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1))
