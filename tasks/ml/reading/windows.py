"""Whole reports as windows: never a cut, for the conclusion comes last in a laudo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from tasks.ml.arrays import Ints
from tasks.ml.errors import UnfitEncoder
from tasks.ml.reading.conclusions import ConclusionHeadings, conclusions
from tasks.ml.reading.sentences import ends_of
from tasks.ml.reading.spread import whole_sentences, window_starts

Ids = NDArray[np.int32]

# A tokenizer holds some hundred bytes a character while it works; so much it is given at a time
PIECE_CHARACTERS = 100_000
BULK_CHARACTERS = 2_000_000
# for what one layer hands to the next: beyond that a core waits for memory
CACHED_BYTES = 3 * 2**19
# what a pass costs however little is in it: read as 60 tokens of 3,072 (the demo's network), 30 of 1,024
# (MiniLM)
PASS_SHARE = 1 / 32


@dataclass(frozen=True, eq=False)
class Windows:
    """Every window of a list of texts, in the order of the texts.

    `ids[w]` are the token ids of window w, special tokens included; `owner[w]` is the index of its text.
    `tokens_total` counts a text's own tokens (no specials), `tokens_seen` those that some window holds.
    """

    ids: list[Ids]
    owner: Ints  # (windows,)
    tokens_seen: Ints  # (texts,)
    tokens_total: Ints  # (texts,)

    @property
    def lengths(self) -> Ints:
        """Tokens a window, specials included: (windows,)."""
        return np.fromiter((len(ids) for ids in self.ids), np.int64, len(self.ids))

    @property
    def per_text(self) -> Ints:
        """Windows a text: (texts,), at least 1."""
        return np.bincount(self.owner, minlength=len(self.tokens_total))


def windows_of(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    window_tokens: int,
    stride_tokens: int,
    whole: ConclusionHeadings | None = None,
) -> Windows:
    """Cut texts into windows of at most `window_tokens`, neighbours sharing at least `stride_tokens`.

    A text longer than one window gets as few windows as the stride allows, all of them full and
    evenly spread: a short last window would weigh the conclusion with less context than the rest.
    `whole`: of which headings the section lies in one window (see window_starts); None: of none.
    Where sentences are read by themselves (sentences.py), windows hold whole ones and share nothing.
    Raises UnfitEncoder where a window leaves no room for text, and for `whole` what places_in raises.
    """
    prefix, suffix = _specials(tokenizer)
    room = window_tokens - len(prefix) - len(suffix)
    if room <= stride_tokens:
        raise UnfitEncoder(
            f"a window of {window_tokens} tokens with a stride of {stride_tokens} does not advance; "
            "raise window_tokens or lower stride_tokens"
        )
    ids: list[Ids] = []
    owner: list[int] = []
    seen, total = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    ends = ends_of(tokenizer)
    for index, body in enumerate(_bodies(tokenizer, texts)):
        reached = 0
        kept = _kept(tokenizer, texts[index], whole) if len(body) > room and not ends else []
        for start, stop in _cuts(body, room, stride_tokens, kept, ends):
            part = body[start:stop]
            ids.append(np.concatenate([prefix, part, suffix]))
            owner.append(index)
            # counted from what the windows hold, so that a gap could not hide
            seen[index] += max(0, start + len(part) - max(start, reached))
            reached = start + len(part)
        total[index] = len(body)
    return Windows(ids, np.asarray(owner, np.int64), seen, total)


def places_in(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    window_tokens: int,
    stride_tokens: int,
    whole: ConclusionHeadings | None = None,
) -> list[Ints]:
    """Of each window of `windows_of` for this text: where in it each token's last character stands.

    -1 for special tokens. The last character, for a token of some tokenizers begins with the blank before
    its word. Raises UnfitEncoder for a tokenizer that does not tell.
    """
    prefix, suffix = (np.full(len(ids), -1, np.int64) for ids in _specials(tokenizer))
    body, places = _placed(tokenizer, text)
    room = window_tokens - len(prefix) - len(suffix)
    kept = [] if whole is None else _in_tokens(conclusions(text, whole), places)
    cuts = _cuts(body, room, stride_tokens, kept, ends_of(tokenizer))
    return [np.concatenate([prefix, places[start:stop], suffix]) for start, stop in cuts]


def _cuts(
    body: Ids, room: int, stride: int, kept: Sequence[tuple[int, int]], ends: Sequence[int]
) -> list[tuple[int, int]]:
    """First token of each window, and the last one left out; `ends`: of sentences read by themselves."""
    if not ends or len(body) <= room:
        return [
            (start, min(start + room, len(body))) for start in window_starts(len(body), room, stride, kept)
        ]
    stops = np.flatnonzero(np.isin(body[:-1], ends)) + 1
    return whole_sentences([*stops.tolist(), len(body)], room, stride)


def token_budget_batches(lengths: Ints, budget: int) -> list[Ints]:
    """Indices in batches of similar length whose padded size stays within `budget` tokens.

    Longest first, so that a machine too small fails at once and not at the end. A window longer
    than the budget makes a batch of its own. Where to cut the sorted windows is computed from the last
    one on: so that padding, and for each pass PASS_SHARE of the budget, come to the least.
    """
    order = np.argsort(-lengths, kind="stable")
    longest = np.maximum(1, lengths[order])
    rows = np.maximum(1, budget // longest)  # at most, until it is known how many
    costs = np.zeros(len(order) + 1)  # of what begins here
    for start in reversed(range(len(order))):
        ends = costs[start + 1 : start + 1 + rows[start]]
        tried = longest[start] * np.arange(1, len(ends) + 1) + ends
        rows[start] = tried.argmin() + 1
        costs[start] = tried[rows[start] - 1] + PASS_SHARE * budget
    batches, start = [], 0
    while start < len(order):
        batches.append(order[start : start + rows[start]])
        start += rows[start]
    return batches


def cached_tokens(hidden: int, bytes_a_number: int = 4) -> int:
    """Tokens a pass that a core reads soonest in a network of this width: 512 at 768, 1,024 at 384.

    Measured by `python -m benchmarks.backends`: 2,048 tokens take a network of BERT-base's size longer. Twice
    as many where the network computes in numbers of two bytes.
    """
    return CACHED_BYTES // (bytes_a_number * hidden)


def padded(rows: Sequence[Ids], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask of a batch, padded on the right: both (rows, longest) int64."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad_id, np.int64)
    mask = np.zeros((len(rows), longest), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def pieces(text: str, characters: int = PIECE_CHARACTERS) -> Iterator[str]:
    """A text in pieces of at most `characters`, cut before white space wherever there is any.

    A word-piece tokenizer reads the pieces exactly as it reads the whole, for it never joins over
    white space; with a byte-level or sentence-piece one a token next to a cut may differ, and where
    sentences are read by themselves one that ends with the line at a cut goes on.
    """
    start = 0
    while len(text) - start > characters:
        spaces = list(re.finditer(r"\s", text[start + characters // 2 : start + characters]))
        cut = start + characters // 2 + spaces[-1].start() if spaces else start + characters
        yield text[start:cut]
        start = cut
    yield text[start:]


def _bodies(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Iterator[Ids]:
    """The tokens of each text without specials, tokenised in bulk but never all texts at once."""
    bulk: list[str] = []
    owners: list[int] = []
    characters, done = 0, 0

    def tokenised(upto: int) -> Iterator[Ids]:
        rows = tokenizer(bulk, add_special_tokens=False, verbose=False)["input_ids"] if bulk else []
        parts: list[list[Ids]] = [[] for _ in range(upto - done)]
        for owner, row in zip(owners, rows, strict=True):
            parts[owner - done].append(np.asarray(row, np.int32))
        empty = _stand_in(tokenizer)
        for part in parts:
            body = np.concatenate(part)
            yield body if len(body) else empty

    for index, text in enumerate(texts):
        for piece in pieces(text):
            bulk.append(piece)
            owners.append(index)
            characters += len(piece)
        if characters >= BULK_CHARACTERS:
            yield from tokenised(index + 1)
            bulk, owners, characters, done = [], [], 0, index + 1
    yield from tokenised(len(texts))


def _kept(
    tokenizer: PreTrainedTokenizerBase, text: str, whole: ConclusionHeadings | None
) -> list[tuple[int, int]]:
    """The sections that are to lie whole in one window each, in tokens."""
    found = [] if whole is None else conclusions(text, whole)
    return _in_tokens(found, _placed(tokenizer, text)[1]) if found else []


def _in_tokens(sections: Sequence[tuple[int, int]], places: Ints) -> list[tuple[int, int]]:
    """Characters into tokens: `places` (tokens,) says where each token's last character stands."""
    return [(int(first), int(end)) for first, end in np.searchsorted(places, np.reshape(sections, (-1, 2)))]


def _placed(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[Ids, Ints]:
    """(tokens,) each: a text's tokens without specials, and where in it their last characters stand."""
    if not tokenizer.is_fast:
        raise UnfitEncoder("this encoder's tokenizer does not tell where its tokens stand; use a fast one")
    ids: list[int] = []
    places: list[int] = []
    begun = 0
    for piece in pieces(text):
        told = tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids += told["input_ids"]
        places += [begun + end - 1 for _, end in told["offset_mapping"]]
        begun += len(piece)
    return np.asarray(ids, np.int32), np.asarray(places, np.int64)


def _specials(tokenizer: PreTrainedTokenizerBase) -> tuple[Ids, Ids]:
    """What the tokenizer puts before and after a text, read off a probe: works for every family."""
    encoded = tokenizer("a", return_special_tokens_mask=True, verbose=False)
    ids, special = np.asarray(encoded["input_ids"], np.int32), np.asarray(encoded["special_tokens_mask"])
    body = np.flatnonzero(special == 0)
    if not len(body):
        # "a" itself is unknown to it, and the unknown token counts as special
        bare = len(tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"])
        before = (len(ids) - bare) // 2
        return ids[:before], ids[before + bare :]
    return ids[: body[0]], ids[body[-1] + 1 :]


def _stand_in(tokenizer: PreTrainedTokenizerBase) -> Ids:
    """What stands for a text without a single token where the tokenizer adds no specials (GPT-2)."""
    if tokenizer.num_special_tokens_to_add():
        return np.zeros(0, np.int32)
    return np.asarray([tokenizer.pad_token_id], np.int32)
