"""Whole reports: windows cover every token, whatever the length."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ml.errors import UnfitEncoder
from tasks.ml.reading.spread import whole_sentences, window_starts
from tasks.ml.reading.windows import PASS_SHARE, PIECE_CHARACTERS, pieces, token_budget_batches, windows_of
from tests.ml.conftest import STRIDE, WINDOW, Network


@given(st.integers(0, 3000), st.integers(2, 300), st.data())
def test_windows_cover_everything_share_the_stride_and_are_no_more_than_needed(tokens, room, data):
    stride = data.draw(st.integers(0, room - 1))
    starts = window_starts(tokens, room, stride)
    assert starts[0] == 0
    if tokens <= room:
        assert starts == [0]
        return
    assert starts[-1] + room == tokens
    steps = np.diff(starts)
    assert steps.max() <= room - stride
    assert (len(starts) - 2) * (room - stride) + room < tokens  # one window fewer would not reach the end


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(2, 50), st.data())
def test_windows_of_whole_sentences_cover_everything_and_cut_none_that_fits(lengths, room, data):
    stride = data.draw(st.integers(0, room - 1))
    stops = np.cumsum(lengths).tolist()
    windows = whole_sentences(stops, room, stride)
    assert sorted({token for start, stop in windows for token in range(start, stop)}) == list(
        range(stops[-1])
    )
    assert all(stop - start <= room for start, stop in windows)
    for start, stop in pairwise([0, *stops]):
        if stop - start <= room:
            assert sum(first < stop and start < last for first, last in windows) == 1
    assert windows == sorted(set(windows))


def test_a_text_of_no_token_has_a_window():
    assert whole_sentences([0], 10, 2) == [(0, 0)]


@given(st.text(alphabet="ab \n\u2003é", max_size=400), st.integers(2, 50))
def test_pieces_join_to_the_text_and_keep_words_whole_where_there_is_white_space(text, characters):
    cut = list(pieces(text, characters))
    assert "".join(cut) == text
    assert all(len(piece) <= characters for piece in cut)


def test_a_piece_ends_before_white_space():
    assert list(pieces("aaaa bbbb cccc", 11)) == ["aaaa bbbb", " cccc"]


def test_every_family_sees_all_tokens_of_long_reports(network: Network, tiny_texts: list[str]):
    _, tokenizer = network
    texts = [tiny_texts[0], " ".join(tiny_texts), "não"]
    windows = windows_of(tokenizer, texts, WINDOW, STRIDE)
    bare = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    assert windows.tokens_total.tolist() == bare
    assert windows.tokens_seen.tolist() == bare
    assert windows.per_text[1] > 5
    assert windows.lengths.max() <= WINDOW


def test_a_window_is_what_the_tokenizer_itself_makes_of_a_short_text(network: Network, tiny_texts: list[str]):
    _, tokenizer = network
    windows = windows_of(tokenizer, ["nódulo na mama"], WINDOW, STRIDE)
    assert windows.ids[0].tolist() == tokenizer("nódulo na mama")["input_ids"]


def test_the_last_words_of_a_long_report_are_in_its_last_window(tiny: Callable[[], Network]):
    _, tokenizer = tiny()
    windows = windows_of(tokenizer, ["células coesas " * 100 + "necrose"], WINDOW, STRIDE)
    assert "necrose" in tokenizer.decode(windows.ids[-1])


def test_cutting_a_text_into_pieces_leaves_its_tokens_as_they_were(tiny, tiny_texts, monkeypatch):
    _, tokenizer = tiny()
    text = "\n".join(tiny_texts)
    whole = windows_of(tokenizer, [text], WINDOW, STRIDE)
    monkeypatch.setattr("tasks.ml.reading.windows.BULK_CHARACTERS", 300)
    monkeypatch.setattr("tasks.ml.reading.windows.pieces", lambda text: pieces(text, 100))
    cut = windows_of(tokenizer, [text, "não"], WINDOW, STRIDE)
    assert [ids.tolist() for ids in cut.ids[:-1]] == [ids.tolist() for ids in whole.ids]


def test_a_text_without_tokens_is_one_window(network: Network):
    _, tokenizer = network
    windows = windows_of(tokenizer, ["", "mama"], WINDOW, STRIDE)
    assert windows.per_text.tolist() == [1, 1]
    assert all(len(ids) for ids in windows.ids)


def test_a_stride_that_fills_the_window_is_refused(tiny: Callable[[], Network]):
    _, tokenizer = tiny()
    with pytest.raises(UnfitEncoder, match="does not advance"):
        windows_of(tokenizer, ["mama"], 16, 14)


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 2000))
def test_batches_hold_every_window_once_and_keep_the_budget(lengths, budget):
    lengths = np.asarray(lengths, np.int64)
    batches = token_budget_batches(lengths, budget)
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    assert all(len(batch) == 1 or lengths[batch].max() * len(batch) <= budget for batch in batches)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(1, 200))
def test_no_other_way_to_cut_the_sorted_windows_costs_less(lengths, budget):
    def cost(batches):
        return sum(max(1, max(batch)) * len(batch) + PASS_SHARE * budget for batch in batches)

    ordered = sorted(lengths, reverse=True)
    ways = []
    for cuts in product((False, True), repeat=len(ordered) - 1):
        at = [0, *(place for place, cut in enumerate(cuts, 1) if cut), len(ordered)]
        way = [ordered[first:end] for first, end in pairwise(at)]
        if all(len(batch) == 1 or batch[0] * len(batch) <= budget for batch in way):
            ways.append(cost(way))
    found = token_budget_batches(np.asarray(lengths, np.int64), budget)
    assert cost([[lengths[at] for at in batch] for batch in found]) == pytest.approx(min(ways))


def test_few_reports_of_many_lengths_are_hardly_padded():
    lengths = np.exp(np.random.default_rng(0).normal(5.5, 0.6, 64)).astype(np.int64)

    def computed(batches):
        return sum(lengths[batch].max() * len(batch) for batch in batches) / lengths.sum()

    # as full as the budget allows, which was the rule before
    order, full, start = np.argsort(-lengths, kind="stable"), [], 0
    while start < len(order):
        full.append(order[start : start + max(1, 3072 // lengths[order[start]])])
        start += len(full[-1])
    assert computed(full) > 1.08
    assert computed(token_budget_batches(lengths, 3072)) < 1.05


def test_a_report_of_two_million_characters_is_read_whole_and_never_tokenised_at_once(tiny, monkeypatch):
    _, tokenizer = tiny()
    given: list[int] = []

    tokenise = type(tokenizer).__call__

    def spied(self, texts, *args, **kwargs):
        given.extend(map(len, [texts] if isinstance(texts, str) else texts))
        return tokenise(self, texts, *args, **kwargs)

    monkeypatch.setattr(type(tokenizer), "__call__", spied)
    text = "mama direita, " * 143_000
    windows = windows_of(tokenizer, [text, "mama"], 512, 64)
    assert len(text) > 2_000_000
    assert windows.tokens_total[0] % 143_000 == 0  # each repetition gave the same tokens, cut or not
    assert windows.tokens_seen.tolist() == windows.tokens_total.tolist()
    assert max(given) <= PIECE_CHARACTERS
