"""Can the row, or the patient, be recovered from the text?"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import gammainc

from tasks.ml.arrays import Bools
from tasks.ml.audit.family import LEVEL, SHOWN
from tasks.ml.audit.ground import Ground
from tasks.ml.audit.result import Check, Evidence, untested, verdict

# Rows alike in what was found share rare words more often than chance has it; this much more is let pass
ALIKE = 20.0
SHIFTS = 200  # times every row is given another row's measurements
RARE_SHARE = 0.02  # of the reports: a word this rare can tell one row from others
_TOKEN = re.compile(r"\w[\w.,/-]*\w|\w")
_DECIMAL = re.compile(r"(?<![\w.,])\d+[.,]\d+(?![\w.,]*\d)|(?<![\w.,])\d{3,}(?![\w.,]*\d)")


def confined_words(ground: Ground) -> Check:
    """Words and numbers that several reports of one group hold, and no other report.

    Were the reports that hold a word drawn anyhow, all m would be of one group with chance q ** (m - 1), q
    being ALIKE times the share of the other reports that are of that group. How many such words there are is
    then a Poisson number at most.
    """
    corpus = ground.corpus
    where: dict[str, list[int]] = defaultdict(list)
    for report, text in enumerate(ground.plain_texts):
        for word in set(_TOKEN.findall(text)):
            where[word].append(report)
    sizes = Counter(corpus.groups)
    if max(sizes.values()) < 2:
        return untested("row_words", "every group has one report only")
    alike = ALIKE * (np.mean([size**2 for size in sizes.values()]) / np.mean(list(sizes.values())) - 1)
    chance = min(1.0, float(alike) / (len(corpus.texts) - 1))
    expected, confined = 0.0, []
    for word, reports in where.items():
        if 2 <= len(reports) <= max(sizes.values()):
            expected += chance ** (len(reports) - 1)
            if len({corpus.groups[report] for report in reports}) == 1:
                confined.append((len(reports), word))
    # P(Poisson(expected) >= confined)
    p = float(gammainc(len(confined), expected)) if confined else 1.0
    found = tuple(Evidence(word, "", held) for held, word in sorted(confined, reverse=True)[:SHOWN])
    state = verdict(p <= LEVEL)
    return Check("row_words", state, "p of so many words that one row alone has", p, LEVEL, len(where), found)


def nearest_reports(ground: Ground) -> Check:
    """Whether the report most alike in rare words is of the same group more often than chance has it.

    Where the findings' words are known they are left out: what remains is drawn anew for every report.
    """
    corpus, words = ground.corpus, ground.words
    sizes = Counter(corpus.groups)
    if max(sizes.values()) < 2:
        return untested("row_neighbours", "every group has one report only")
    counted = words.single(2)
    rare = counted.reports <= RARE_SHARE * words.reports
    outside = ground.apart(counted.phrases) | (ground.spoken is None)
    chosen = counted.presence[:, np.flatnonzero(rare & outside)]
    weights = np.log(words.reports / np.maximum(np.asarray(chosen.sum(axis=0)).ravel(), 1))
    weighted = csr_matrix(chosen.multiply(np.sqrt(weights)))
    group = np.unique(np.array(corpus.groups), return_inverse=True)[1]
    asked, hits = 0, 0.0
    for start in range(0, words.reports, 1000):
        alike = (weighted[start : start + 1000] @ weighted.T).toarray()
        alike[np.arange(len(alike)), np.arange(start, start + len(alike))] = -1
        best = alike.max(axis=1)
        same = group[start : start + len(alike), None] == group[None, :]
        top = (alike == best[:, None]) & (best[:, None] > 0)
        hits += float(((top & same).sum(axis=1) / np.maximum(top.sum(axis=1), 1)).sum())
        asked += int((best > 0).sum())
    by_chance = (
        asked * (sum(size * (size - 1) for size in sizes.values()) / words.reports) / (words.reports - 1)
    )
    expected = by_chance * (1 if ground.spoken is not None else ALIKE)
    # hits of one group hang together: each counts at most once for every pair, so two for one is assumed
    p = float(gammainc(max(hits / 2, 1e-9), expected / 2)) if hits > expected else 1.0
    measure = "p of so many nearest reports of the same row"
    note = f"{hits:.0f} of {asked} where {by_chance:.0f} are chance"
    state = verdict(p <= LEVEL)
    return Check("row_neighbours", state, measure, p, LEVEL, asked, note=note)


def printed_measurements(ground: Ground) -> Check:
    """Whether numbers in a report are its own row's measurements more often than another row's."""
    corpus = ground.corpus
    if corpus.measurements is None:
        return untested("printed_measurements", "there are no measurements")
    keys = list(dict.fromkeys(corpus.groups))
    place = {key: at for at, key in enumerate(keys)}
    values = np.array([corpus.measurements[key] for key in keys], dtype=np.float64)
    seen: set[tuple[int, str]] = set()
    for text, group in zip(corpus.texts, corpus.groups, strict=True):
        seen |= {(place[group], number.replace(",", ".")) for number in _DECIMAL.findall(text)}
    if not seen or len(keys) < 3:
        return Check("printed_measurements", "passed", "", note="no number with digits enough occurs")
    listed = sorted(seen)
    row = np.array([at for at, _ in listed])
    decimals = np.array([len(number.partition(".")[2]) for _, number in listed])
    written = np.array([float(number) for _, number in listed])
    close = 0.5 * 10.0**-decimals * (1 + 1e-9)

    def matches(shift: int) -> Bools:
        theirs = values[(row + shift) % len(keys)]
        return np.asarray((np.abs(theirs - written[:, None]) <= close[:, None]).any(axis=1))

    own = matches(0)
    steps = np.random.default_rng(3).choice(
        np.arange(1, len(keys)), min(SHIFTS, len(keys) - 1), replace=False
    )
    others = np.array([matches(int(step)).sum() for step in steps])
    expected = max(float(others.mean()), 1 / len(steps))
    p = float(gammainc(int(own.sum()), expected)) if own.any() else 1.0
    # what many digits agree in is no accident
    counts = Counter(listed[at][1] for at in np.flatnonzero(own))
    precise = sorted(counts, key=lambda number: (-len(number), number))[:SHOWN]
    found = tuple(Evidence(number, "", counts[number]) for number in precise)
    state = verdict(p <= LEVEL)
    return Check(
        "printed_measurements", state, "p of so many numbers that the row was measured with", p, LEVEL,
        len(listed), found, f"{own.sum()} where other rows' measurements give {others.mean():.1f}",
    )  # fmt: skip
