"""The order of a report's sections, read off its headings."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tasks.ml.audit.family import of_properties
from tasks.ml.audit.ground import Ground
from tasks.ml.audit.result import Check
from tasks.ml.audit.shortcuts import HEADING, shortcut
from tasks.ml.audit.words import plain, words_of

KNOWN_MAX = 60  # headings, the most frequent ones: their pairs are looked at
RARE_SHARE = 0.005


def headings_of(text: str) -> list[str]:
    """The headings of a report in their order, plain, each once."""
    return list(dict.fromkeys(" ".join(plain(found[0]).split()) for found in HEADING.findall(text)))


def order(ground: Ground) -> Check:
    """Which headings there are, which comes first and last, and which before which."""
    told = [headings_of(text) for text in ground.corpus.texts]
    counts = Counter(heading for headings in told for heading in headings)
    least = max(5, round(RARE_SHARE * len(told)))
    known = [heading for heading, n in counts.most_common(KNOWN_MAX) if n >= least]
    number = {heading: at for at, heading in enumerate(known)}
    place = np.zeros((len(told), 3, len(known)), dtype=bool)
    before = np.zeros((len(told), len(known), len(known)), dtype=bool)
    for report, headings in enumerate(told):
        here = [number[heading] for heading in headings if heading in number]
        if here:
            place[report, 0, here] = place[report, 1, here[0]] = place[report, 2, here[-1]] = True
        for at, heading in enumerate(here):
            before[report, heading, here[at + 1 :]] = True
    # "nuclear outline: smooth" is a finding's; a heading holds a word that no finding is told in
    outside = np.array([ground.apart(words_of(heading)).any() for heading in known], dtype=bool)
    names = [f"{heading!r} {how}" for how in ("is there", "comes first", "comes last") for heading in known]
    names += [f"{one!r} before {other!r}" for one in known for other in known]
    apart = np.concatenate([np.tile(outside, 3), (outside[:, None] & outside).ravel()])
    values = np.hstack([part.reshape(len(told), -1) for part in (place, before)])
    kept = np.flatnonzero((values.sum(axis=0) >= least) & (values.sum(axis=0) <= len(told) - least))
    family = of_properties(
        [names[at] for at in kept], values[:, kept].astype(np.float64), ground.units, apart[kept].tolist()
    )
    return shortcut("order", family, ground.nulls)
