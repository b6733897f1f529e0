"""Chance that is the same on every machine: uniform numbers in [0, 1) and what is made of them.

Of all of NumPy's methods `random()` is the one whose values are the same in every version.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np

T = TypeVar("T")

_BLOCK = 256  # a call into NumPy costs more than a phrase


class Rng(Protocol):
    def random(self) -> float:
        """The next number of the stream, in [0, 1)."""
        ...


class Stream:
    """The numbers that a name stands for: the same name gives the same numbers, whatever else is drawn."""

    def __init__(self, *name: str | int) -> None:
        digest = hashlib.sha256("\0".join(map(str, name)).encode()).digest()
        bits = np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest[:16])))
        self.random = _numbers(np.random.Generator(bits)).__next__


def _numbers(source: np.random.Generator) -> Iterator[float]:
    while True:
        yield from source.random(_BLOCK).tolist()


def integer(rng: Rng, low: int, high: int) -> int:
    """A whole number, both ends included."""
    return low + int(rng.random() * (high - low + 1))


def pick(rng: Rng, options: Sequence[T]) -> T:
    return options[int(rng.random() * len(options))]


def happens(rng: Rng, chance: float) -> bool:
    return rng.random() < chance


def stray(rng: Rng, sd: float) -> float:
    """Near-normal noise with mean 0, never beyond 3.5 sd: four uniform numbers summed (Irwin-Hall)."""
    total = rng.random() + rng.random() + rng.random() + rng.random()
    return (total - 2.0) * sd * math.sqrt(3.0)


def shuffled(rng: Rng, items: Sequence[T]) -> list[T]:
    """The items in any order."""
    keys = [rng.random() for _ in items]
    return [items[at] for at in sorted(range(len(items)), key=keys.__getitem__)]
