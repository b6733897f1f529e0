"""Evidence points at what decided, and at nothing where nothing did."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from benchmarks.attribution import Network as Attributed
from benchmarks.attribution import attention, cut_of, integrated_gradients, log_odds_from
from tasks.ml.evidence import PASSAGES_MAX, degrees, evidence, log_odds, sentences, without
from tests.ml.conftest import STRIDE, WINDOW, Network

TEXT = "Citologia de mama.\nNódulo de 1.5 cm; células coesas.\n\n---\nFundo com necrose. Ver lâmina 2"
PLANTED = "necrose"


def shown(text: str) -> list[str]:
    return [text[span.start : span.end] for span in sentences(text)]


def decides_by(word: str) -> Callable[[Sequence[str]], np.ndarray]:
    """A reader for whom one word alone decides: 0.98 with it, 0.1 without."""

    def read(texts: Sequence[str]) -> np.ndarray:
        critical = np.array([0.98 if word in text else 0.1 for text in texts])
        return np.stack([1 - critical, critical], axis=1)

    return read


def test_sentences_end_at_stops_semicolons_and_lines_but_not_inside_a_number() -> None:
    assert shown(TEXT) == [
        "Citologia de mama.",
        "Nódulo de 1.5 cm;",
        "células coesas.",
        "Fundo com necrose.",
        "Ver lâmina 2",
    ]
    assert sentences("") == sentences(" \n...;") == []


def test_a_long_report_is_explained_in_a_bounded_number_of_passages_that_leave_no_word_out() -> None:
    text = " ".join(f"Frase {number}." for number in range(1000))
    spans = sentences(text)
    assert len(spans) <= PASSAGES_MAX
    assert without(text, spans).split() == []


def test_the_sentence_with_the_word_that_alone_decides_is_found() -> None:
    found = evidence(decides_by(PLANTED), TEXT, 1)
    best = max(found, key=lambda one: one.score)
    assert TEXT[best.start : best.end] == "Fundo com necrose."
    assert [one.score for one in found if one is not best] == [0.0] * 4
    against = evidence(decides_by(PLANTED), TEXT, 0)
    assert min(against, key=lambda one: one.score).start == best.start
    assert degrees([one.score for one in found]) == ["none", "none", "none", "strong", "none"]


def test_a_reader_that_goes_by_nothing_yields_no_evidence() -> None:
    found = evidence(decides_by("ausente"), TEXT, 0)
    assert {one.score for one in found} == {0.0}
    assert set(degrees([one.score for one in found])) == {"none"}


def test_a_report_and_all_its_variants_are_read_in_one_call() -> None:
    calls: list[int] = []

    def read(texts: Sequence[str]) -> np.ndarray:
        calls.append(len(texts))
        return decides_by(PLANTED)(texts)

    evidence(read, TEXT, 1)
    assert calls == [6]


def test_log_odds_of_a_nearly_certain_label_are_finite_and_ordered() -> None:
    odds = log_odds(np.array([[1e-18, 1.0], [1e-12, 1.0], [0.5, 0.5], [1.0, 0.0]]), 1)
    assert np.isfinite(odds).all()
    assert (np.diff(odds) < 0).all()


@pytest.fixture
def attributed(tiny: Callable[[], Network]) -> Attributed:
    model, tokenizer = tiny()
    model.set_attn_implementation("eager")
    return Attributed(model, tokenizer, WINDOW, STRIDE)


@pytest.mark.parametrize("reports", [1, 6])  # one window, and several
def test_the_contrasts_see_each_token_in_its_sentence_and_the_answer_that_is_given(
    attributed: Attributed, tiny_texts: list[str], reports: int
) -> None:
    text = "\n".join(tiny_texts[:reports])
    spans = sentences(text)
    cut = cut_of(attributed, text, spans)
    assert (len(cut.ids) > 1) == (reports > 1)
    for number, span in enumerate(spans):
        own = attributed.tokenizer(text[span.start : span.end], add_special_tokens=False)["input_ids"]
        assert set(cut.ids[torch.from_numpy(cut.sentence == number)].tolist()) == set(own)
    words = attributed.model.get_input_embeddings()(cut.ids)
    odds = log_odds_from(attributed.model, words, cut.mask, 1)
    assert odds.item() == pytest.approx(log_odds(attributed.read([text]), 1)[0], abs=1e-4)


def test_attention_gradients_and_ours_score_every_sentence(
    attributed: Attributed, tiny_texts: list[str]
) -> None:
    text = "\n".join(tiny_texts[:4])
    spans = sentences(text)
    assert (attention(attributed, text, spans, 1) > 0).all()
    for given in (
        integrated_gradients(attributed, text, spans, 1, steps=2),
        [one.score for one in evidence(attributed.read, text, 1)],
    ):
        assert len(given) == len(spans)
        assert np.any(given)
