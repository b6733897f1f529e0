"""Ages, dates, times, long numbers, sides and sizes: none of them may depend on the label."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np

from tasks.ml.arrays import Floats
from tasks.ml.audit.family import of_properties
from tasks.ml.audit.ground import Ground
from tasks.ml.audit.result import Check
from tasks.ml.audit.shortcuts import shortcut

# kind -> how it is written in plain text; the first that matches at a place counts
KINDS: Final = {
    "date": re.compile(r"\b(\d{1,2})[/.](\d{1,2})[/.]((?:19|20)?\d\d)\b"),
    "time": re.compile(r"\b(\d{1,2})[:h](\d\d)\b"),
    "age": re.compile(r"\bidade:? *(\d{1,3})\b|(?<!\bha )\b(\d{2,3}) ?(?:anos|a\.)"),
    "year": re.compile(r"\b((?:19|20)\d\d)\b"),
    "long number": re.compile(r"\b(\d{4,})\b"),
    "size": re.compile(r"(\d+(?:[.,]\d+)?) ?(cm|mm)\b"),
    "other": re.compile(r"(\d+(?:[.,]\d+)?)"),
}
SIDES: Final = (re.compile(r"\bdireit[ao]s?\b"), re.compile(r"\besquerd[ao]s?\b"))  # right, left
PARTS: Final = {"date": ("date day", "date month", "date year"), "time": ("time hour", "time minute")}
# no finding is a reason for these
APART = {"age", "year", "long number", *(part for parts in PARTS.values() for part in parts)}
ENDS = (0.1, 0.5, 0.9)  # where values are cut into low, middle and high


def numbers(ground: Ground) -> Check:
    """Each kind of number: whether there is one, how high, whether it is extreme, or odd; and the sides."""
    texts, known = ground.plain_texts, ground.spoken is not None
    values: dict[str, dict[int, float]] = defaultdict(dict)
    odd: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for report, text in enumerate(texts):
        for kind, value in read(text):
            values[kind].setdefault(report, value)  # the first of its kind
            odd[kind][report].append(round(value) % 2)
    names, columns, apart = [], [], []
    for kind, found in sorted(values.items()):
        share_odd = [float(np.mean(odd[kind][report])) for report in found]
        for name, column in _readings(kind, found, share_odd, len(texts)):
            names.append(name)
            columns.append(column)
            apart.append(known and kind in APART)
    right, left = (
        np.array([side.search(text) is not None for text in texts], dtype=np.float64) for side in SIDES
    )
    # whether a side is named may be a finding's doing; which one is named must be nobody's
    names += ["side: there is one", "side: right rather than left"]
    columns += [np.maximum(right, left), right - left]
    apart += [False, known]
    family = of_properties(names, np.array(columns).T, ground.units, apart)
    return shortcut("numbers", family, ground.nulls)


def read(text: str) -> Iterator[tuple[str, float]]:
    """Every number of a plain text with its kind; sizes in millimetres."""
    taken = np.zeros(len(text) + 1, dtype=bool)
    for kind, pattern in KINDS.items():
        for match in pattern.finditer(text):
            if taken[match.start() : match.end()].any():
                continue
            taken[match.start() : match.end()] = True
            groups = [group for group in match.groups() if group is not None]
            if kind in PARTS:
                yield from zip(PARTS[kind], map(float, groups), strict=True)
            else:
                scale = 10.0 if groups[-1] == "cm" else 1.0
                yield kind, scale * float(groups[0].replace(",", "."))


def _readings(
    kind: str, found: dict[int, float], share_odd: list[float], reports: int
) -> Iterator[tuple[str, Floats]]:
    """Columns of one figure a report; a report without this kind stands at the middle."""
    where = np.fromiter(found, dtype=np.int64)
    value = np.fromiter(found.values(), dtype=np.float64)

    def column(figures: Floats) -> Floats:
        made = np.zeros(reports)
        made[where] = figures - figures.mean()
        return made

    there = np.zeros(reports)
    there[where] = 1
    yield f"{kind}: there is one", there
    # ranks: a single huge number must not drown the others
    yield f"{kind}: how high", column(np.argsort(np.argsort(value, kind="stable")).astype(np.float64))
    low, middle, high = np.quantile(value, ENDS)
    yield f"{kind}: {low:g} or less", column((value <= low).astype(np.float64))
    yield f"{kind}: above {middle:g}", column((value > middle).astype(np.float64))
    yield f"{kind}: {high:g} or more", column((value >= high).astype(np.float64))
    yield f"{kind}: odd", column(np.array(share_odd))
