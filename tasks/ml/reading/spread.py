"""Where the windows of a long report begin: evenly spread, around the sections, or of the sentences, that are
not to be cut."""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Sequence


def window_starts(tokens: int, room: int, stride: int, kept: Sequence[tuple[int, int]] = ()) -> list[int]:
    """Where windows of `room` tokens begin over `tokens` tokens: evenly spread, sharing >= `stride`.

    `kept`: sections (first token, last one left out) that lie whole in one window each; of one that is
    longer than a window, its first `room` tokens. Where even windows would cut one, a window is put so that
    it stands in its middle, as nearly as costs the fewest windows, and the others are spread on its sides.
    """
    if tokens <= room:
        return [0]
    held, advance = [0, tokens - room], room - stride
    while True:
        starts = _spread(held, advance)
        cut = next((one for one in kept if not _is_whole(one, starts, room)), None)
        if cut is None:
            return starts
        # it stays from here on, so that this ends after one turn a section
        held = sorted([*held, _place_for(cut, held, room, advance)])


def whole_sentences(stops: Sequence[int], room: int, stride: int) -> list[tuple[int, int]]:
    """Windows (first token, last one left out) of at most `room` tokens, of as many whole sentences as fit.

    `stops`: where each sentence ends, the last one with the text. They share nothing, but those of a sentence
    that is longer than a window, which has windows of its own.
    """
    windows: list[tuple[int, int]] = []
    begun = reached = 0
    for stop in stops:
        if stop - begun > room:
            if reached > begun:
                windows.append((begun, reached))
                begun = reached
            if stop - begun > room:
                starts = window_starts(stop - begun, room, stride)
                windows += [(begun + start, begun + start + room) for start in starts]
                begun = stop
        reached = stop
    return windows if begun == reached and windows else [*windows, (begun, reached)]


def _is_whole(section: tuple[int, int], starts: Sequence[int], room: int) -> bool:
    first, end = section[0], min(section[1], section[0] + room)
    # of the windows that begin before it, the last reaches farthest
    return end <= starts[bisect(starts, first) - 1] + room


def _place_for(section: tuple[int, int], held: Sequence[int], room: int, advance: int) -> int:
    """Where a window begins that holds the section: the fewest windows, then as much on either side of it."""
    first, end = section[0], min(section[1], section[0] + room)
    low, high = max(held[0], end - room), min(first, held[-1])

    def costs(place: int) -> tuple[int, int]:
        at = bisect(held, place, hi=len(held) - 1)
        left, right = held[at - 1], held[at]
        more = sum(-(-gap // advance) for gap in (place - left, right - place)) - -(
            -(right - left) // advance
        )
        return more, abs(2 * place - low - high)

    return min(range(low, high + 1), key=costs)


def _spread(held: Sequence[int], advance: int) -> list[int]:
    """The places in `held` and, evenly between them, as many as make no step longer than `advance`."""
    places = [held[0]]
    for left, right in itertools.pairwise(held):
        gaps = -(-(right - left) // advance)
        places += [left + (right - left) * gap // gaps for gap in range(1, gaps + 1)]
    return places
