"""How long many texts take, read off a few: which ones to try, and what their time says of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from tasks.ml.arrays import Ints

GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Reading:
    """One group of texts, read: characters, tokens and seconds."""

    texts: int
    characters: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """For all texts: tokens, seconds, and half of the 95 % interval of the seconds (None: unknown)."""

    tokens: float
    seconds: float
    half_s: float | None


def groups(characters: Ints, chunk_texts: int, group_texts: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Indices of texts to read together, for as long as one asks; ends where all have been given.

    A chunk is read sorted by length, in batches of texts of one length. So a chunk of `chunk_texts` is
    drawn evenly over the lengths, and given in pieces of `group_texts` neighbours, long and short ones by
    turns. Then another chunk is drawn.
    """
    order = np.argsort(-characters, kind="stable")
    chunks = max(1, round(len(order) / chunk_texts))
    for first in rng.permutation(chunks):
        chunk = order[first::chunks]
        pieces = np.array_split(chunk, max(1, round(len(chunk) / group_texts)))
        yield from (pieces[at] for at in by_turns(len(pieces)) if len(pieces[at]))


def by_turns(count: int) -> list[int]:
    """0 to count - 1 so that any first few of them are spread evenly, 0 first (multiples of the golden ratio,
    Weyl 1916)."""
    return sorted(range(count), key=lambda number: number * GOLDEN % 1)


def forecast(readings: Sequence[Reading], characters: float) -> Forecast:
    """Scale what was read to `characters`: ratio estimates (Cochran 1977, "Sampling Techniques", chapter 6).

    The interval stands on how much the groups differ among each other (Student's t): one alone has none.
    """
    if not readings:
        return Forecast(0.0, 0.0, 0.0)
    read = np.array([one.characters for one in readings], float)
    took = np.array([one.seconds for one in readings])
    share, count = characters / read.sum(), len(readings)
    half_s = None
    if count > 1:
        off = took - took.sum() / read.sum() * read
        error = share * np.sqrt(count * (off**2).sum() / (count - 1))
        half_s = float(stdtrit(count - 1, 0.975) * error)
    tokens = sum(one.tokens for one in readings) * share
    return Forecast(float(tokens), float(took.sum() * share), half_s)
