"""What stands where in reports: tokens, pairs of neighbours, and runs of letters within words, as numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from tasks.ml.arrays import Ints
from tasks.ml.reading.windows import Windows

RUNS = (3, 4, 5)  # letters

_FIRST = 20  # a pair's code is its first token, from this bit on, and its second; no vocabulary has 2**20
_PLAIN = 0x3000  # letters before it have a case or accents
_SPACE = 32
# odd and arbitrary: a run's code is the sum of its letters times these
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F],
    np.uint64,
)


class Read(NamedTuple):
    """Texts, and the windows that a network reads of them."""

    texts: Sequence[str]
    windows: Windows

    def only(self, places: Ints) -> Read:
        """These texts alone, in this order."""
        cut, ends = self.windows, np.cumsum(self.windows.per_text)
        mine = [
            range(end - count, end) for end, count in zip(ends[places], cut.per_text[places], strict=True)
        ]
        windows = Windows(
            [cut.ids[at] for some in mine for at in some],
            np.repeat(np.arange(len(places)), [len(some) for some in mine]),
            cut.tokens_seen[places],
            cut.tokens_total[places],
        )
        return Read([self.texts[place] for place in places], windows)


class Occurring(NamedTuple):
    """What stands where, (occurrences,) each."""

    codes: Ints
    texts: Ints
    at: Ints  # its first token among those of all windows; of a run, one of its letters among all characters
    width: Ints  # 1, or of a pair 2 tokens


def tokens_in(read: Read) -> Occurring:
    """Every token, and every pair of neighbours in one window."""
    windows = read.windows
    ids = np.concatenate([np.zeros(0, np.int64), *windows.ids])
    window = np.repeat(np.arange(len(windows.ids)), windows.lengths)
    pairs = np.flatnonzero(window[1:] == window[:-1])
    at = np.concatenate([np.arange(len(ids)), pairs])
    codes = np.concatenate([ids, ((ids[pairs] + 1) << _FIRST) | ids[pairs + 1]])
    return Occurring(codes, windows.owner[window[at]], at, np.repeat([1, 2], [len(ids), len(pairs)]))


def letters_in(read: Read) -> Occurring:
    """Every run of letters in one word, the blank before and after it counting as letters.

    A word is what stands between blanks, in lower case and without accents.
    """
    joined = "".join(f" {text}" for text in read.texts) + " "
    spelt = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
    spelt = np.where(spelt < _PLAIN, _plain()[np.minimum(spelt, _PLAIN - 1)], spelt)
    lengths = np.array([len(text) for text in read.texts], np.int64) + 1
    texts = np.append(np.repeat(np.arange(len(lengths)), lengths), max(0, len(lengths) - 1))
    at = np.arange(len(spelt)) - texts - 1  # among the characters of all texts, unjoined
    blank = spelt == _SPACE
    kept = np.flatnonzero((spelt > 0) & ~(blank & np.append(False, blank[:-1])))
    spelt, texts, at, blank = spelt[kept].astype(np.uint64), texts[kept], at[kept], blank[kept]
    blanks = np.cumsum(blank)
    found = []
    for width in RUNS:
        many = max(0, len(spelt) - width + 1)
        inside = blanks[width - 2 : width - 2 + many] == blanks[:many]
        first = np.flatnonzero(inside)
        codes = sum(spelt[first + place] * _FACTORS[place] for place in range(width))
        # the second letter is never a blank
        found.append((np.asarray(codes, np.uint64) >> np.uint64(2), texts[first + 1], at[first + 1]))
    codes, texts, at = (np.concatenate(some).astype(np.int64) for some in zip(*found, strict=True))
    return Occurring(codes, texts, at, np.ones(len(codes), np.int64))


@cache
def _plain() -> Ints:
    """(_PLAIN,) of each letter its small one without accents, of white space a blank, of a mark alone 0."""
    table = np.zeros(_PLAIN, np.int64)
    for number in range(_PLAIN):
        letter = chr(number)
        bare = unicodedata.normalize("NFD", letter.lower())[0]
        table[number] = _SPACE if letter.isspace() else 0 if unicodedata.combining(letter) else ord(bare)
    return table
