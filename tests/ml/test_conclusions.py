"""A conclusion that fits into a window lies whole in one, wherever it stands in the report."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.ml.network.encoder import encoder_sha
from tasks.ml.network.features import encode, reader_of
from tasks.ml.reading.conclusions import ConclusionHeadings, conclusions, shipped
from tasks.ml.reading.long_reports import AS_EVER, LongReports
from tasks.ml.reading.sections import folded
from tasks.ml.reading.sentences import ends_of
from tasks.ml.reading.spread import window_starts
from tasks.ml.reading.windows import padded, places_in, windows_of
from tasks.ml.synthesis.exams import exams, generator
from tests.ml.conftest import STRIDE, WINDOW, Network

KEPT = LongReports(conclusions=shipped())


def told(text: str) -> list[str]:
    return [text[start:end] for start, end in conclusions(text, shipped())]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Microscopia: células coesas.\nConclusão: benigno.\nNota: rever.", ["Conclusão: benigno."]),
        ("ACHADOS\nnódulo\n\nIMPRESSÃO DIAGNÓSTICA\n\nBI-RADS 4.\n\nSugere-se punção.\n\nComentário: x",
         ["IMPRESSÃO DIAGNÓSTICA\n\nBI-RADS 4.\n\nSugere-se punção."]),
        ("2. DIAGNÓSTICO - Carcinoma ductal", ["DIAGNÓSTICO - Carcinoma ductal"]),
        ("Gross description: tan tissue. FINAL DIAGNOSIS: Adenocarcinoma. Comment: none.",
         ["FINAL DIAGNOSIS: Adenocarcinoma."]),
        ("Sem alterações. Conclusão: normal.", ["Conclusão: normal."]),
        ("mama CONCLUSÃO: normal", ["CONCLUSÃO: normal"]),
        ("Diagnóstico citológico: A\nDiagnóstico: B", ["Diagnóstico citológico: A", "Diagnóstico: B"]),
        # prose is no heading: not capital, not behind a sentence, no colon inside a line, part of a word
        ("favor correlacionar com o diagnóstico: clínico", []),
        ("o Diagnóstico: clínico", []),
        ("Sem critério. Conclusão difícil.", []),
        ("Inconclusão: x", []),
        ("Conclusão difícil neste material", []),
        ("", []),
    ],
)  # fmt: skip
def test_a_conclusion_reaches_from_its_heading_to_the_next_that_is_known(text: str, found: list[str]) -> None:
    assert told(text) == found


def test_every_heading_of_conclusion_that_the_exams_write_is_known() -> None:
    inside = {"bi-rads", "classificacao", "categoria"}  # of a conclusion as often as above one
    for exam in exams():
        for language in generator(exam).grammar.languages.values():
            known = {folded(heading) for heading in language.conclusion.headings} - inside
            assert known
            assert known <= set(shipped().begin)


@given(st.text(alphabet="Conclusão: .\n-Ma\u0130ß\u0301É", max_size=60))
def test_sections_lie_in_the_text_in_their_order_whatever_it_holds(text: str) -> None:
    found = conclusions("Conclusão: " + text, shipped())
    edges = [edge for section in found for edge in section]
    assert edges == sorted(edges)
    assert (found[0][0], edges[-1] <= len(text) + 11) == (0, True)


@given(st.integers(0, 2000), st.integers(2, 200), st.data())
def test_windows_hold_every_section_that_fits_and_still_cover_everything(tokens, room, data):
    stride = data.draw(st.integers(0, room - 1))
    edges = sorted(data.draw(st.lists(st.integers(0, tokens), max_size=6)))
    kept = list(zip(edges[::2], edges[1::2], strict=False))
    starts, even = (window_starts(tokens, room, stride, some) for some in (kept, []))
    assert starts[0] == 0
    assert starts[-1] == max(0, tokens - room)
    assert max(np.diff(starts), default=0) <= room - stride
    assert min(np.diff(starts), default=1) > 0
    for first, end in kept:
        end = min(end, first + room)
        assert any(start <= first and end <= start + room for start in starts)
    assert len(even) <= len(starts) <= len(even) + len(kept)


def straddling(tokenizer) -> tuple[str, str]:
    """A report of several windows whose conclusion would fit into one, but even windows cut it."""
    for words in range(1, 60):
        says = "Conclusão: nódulo na mama direita."
        text = f"Citologia: {'fundo ' * words}.\n{says}\nNota: {'células ' * 60}."
        if not holding(tokenizer, text, says, None):
            return text, says
    raise AssertionError("no place in a report is a border of its windows")


def holding(tokenizer, text: str, says: str, whole: ConclusionHeadings | None) -> int:
    """Windows that hold all tokens of the section."""
    section = end_of_each(tokenizer, text, text.index(says), len(says))
    cut = places_in(tokenizer, text, WINDOW, STRIDE, whole)
    return sum(set(section) <= set(places.tolist()) for places in cut)


def end_of_each(tokenizer, text: str, start: int, length: int) -> list[int]:
    """Where the section's tokens end, by the tokenizer alone."""
    told = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [end - 1 for _, end in told["offset_mapping"] if start <= end - 1 < start + length]


def test_a_conclusion_that_even_windows_cut_is_whole_in_one(network: Network) -> None:
    _, tokenizer = network
    if ends_of(tokenizer):
        pytest.skip("windows of whole sentences cut no conclusion of one (test_windows.py)")
    text, says = straddling(tokenizer)
    # the control: cut evenly no window holds it, though it is no longer than one
    assert len(end_of_each(tokenizer, text, text.index(says), len(says))) <= WINDOW - 2
    assert holding(tokenizer, text, says, None) == 0
    assert holding(tokenizer, text, says, shipped()) >= 1

    windows = windows_of(tokenizer, [text, "nódulo"], WINDOW, STRIDE, shipped())
    assert windows.tokens_seen.tolist() == windows.tokens_total.tolist()
    assert windows.per_text[1] == 1
    # and the places that evidence reads are those of these very windows
    places = places_in(tokenizer, text, WINDOW, STRIDE, shipped())
    assert [len(ids) for ids in windows.ids[:-1]] == [len(at) for at in places]


def test_a_report_without_a_known_heading_is_cut_as_ever(network: Network, tiny_texts: list[str]) -> None:
    _, tokenizer = network
    texts = [" ".join(tiny_texts), tiny_texts[0]]
    ever, kept = (windows_of(tokenizer, texts, WINDOW, STRIDE, whole) for whole in (None, shipped()))
    assert [ids.tolist() for ids in ever.ids] == [ids.tolist() for ids in kept.ids]


def test_vectors_of_another_cut_have_another_name_and_those_of_old_keep_theirs(
    tiny: Callable[[], Network],
) -> None:
    network = tiny()
    old = encoder_sha(*network, WINDOW, STRIDE)
    names = {
        encoder_sha(*network, WINDOW, STRIDE, how)
        for how in (KEPT, LongReports(together="max"), LongReports(ConclusionHeadings(("fim",), ()), "mean"))
    }
    assert len(names | {old}) == 4
    assert encoder_sha(*network, WINDOW, STRIDE, AS_EVER) == old
    assert LongReports.from_json(KEPT.as_json()) == KEPT
    assert LongReports.from_json({}) == AS_EVER
    with pytest.raises(ValueError, match="long_reports"):
        LongReports.from_json({**KEPT.as_json(), "together": "median"})


def test_every_back_end_is_given_the_same_windows(tiny: Callable[[], Network]) -> None:
    model, tokenizer = tiny()
    text, _ = straddling(tokenizer)
    shown: list[list[int]] = []

    def spying(ids, mask):
        shown.extend(row[: int(n)].tolist() for row, n in zip(ids, mask.sum(dim=1), strict=True))
        return reader_of(model)(ids, mask)

    encode(
        model, tokenizer, [text], window_tokens=WINDOW, stride_tokens=STRIDE, reader=spying, long_reports=KEPT
    )
    windows = windows_of(tokenizer, [text], WINDOW, STRIDE, shipped()).ids
    assert sorted(shown) == sorted(ids.tolist() for ids in windows)


def test_the_highest_of_each_number_over_the_windows(tiny: Callable[[], Network]) -> None:
    model, tokenizer = tiny()
    text, _ = straddling(tokenizer)
    sizes = {"window_tokens": WINDOW, "stride_tokens": STRIDE}
    how = LongReports(together="max")
    read = encode(model, tokenizer, [text, "nódulo"], **sizes, long_reports=how, batch_tokens=WINDOW)
    ids, mask = padded(windows_of(tokenizer, [text], WINDOW, STRIDE).ids, tokenizer.pad_token_id)
    with torch.inference_mode():
        each = reader_of(model)(ids, mask).vectors.numpy()
    np.testing.assert_allclose(read.vectors[0], each.max(axis=0), atol=1e-6)
    mean = encode(model, tokenizer, [text, "nódulo"], **sizes)
    assert np.abs(mean.vectors[0] - read.vectors[0]).max() > 1e-4
    np.testing.assert_allclose(mean.vectors[1], read.vectors[1], atol=1e-6)  # one window: the same
