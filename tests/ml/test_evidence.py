"""Evidence points at what decided, and its places are those of the text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from benchmarks.attribution import attention, gradient_x_input, log_odds, occlusion, read, without
from tasks.ml.network.encoder import able_to_pad
from tasks.ml.network.evidence import Network, contributions, degrees, evidence, sentences
from tasks.ml.reading.long_reports import AS_EVER, LongReports
from tasks.ml.reading.windows import places_in, windows_of
from tests.ml.conftest import SHARED, STRIDE, WINDOW, bare_network, choosy
from tests.ml.conftest import Network as Pair

TEXT = "Citologia de mama.\nNódulo de 1.5 cm; células coesas.\n\n---\nFundo com necrose. Ver lâmina 2"
PLANTED = "necrose"


def of(pair: Pair, long_reports: LongReports = AS_EVER) -> Network:
    return Network(*pair, WINDOW, STRIDE, batch_tokens=2 * WINDOW, long_reports=long_reports)


def said(words: Sequence[str]) -> str:
    return " ".join(words).capitalize() + "."


@pytest.fixture(scope="module")
def decided(tiny_texts: list[str]) -> Network:
    """A small network for which one word alone decides: it was taught nothing else."""
    pair = bare_network("distilbert", tiny_texts)
    model, tokenizer = pair
    rng = np.random.default_rng(0)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(60):
        truth = np.arange(16) % 2
        texts = [
            said([*rng.choice(SHARED, 6), *([PLANTED] if one else []), *rng.choice(SHARED, 6)])
            for one in truth
        ]
        shown = tokenizer(texts, return_tensors="pt", padding=True)
        model(**shown, labels=torch.from_numpy(truth)).loss.backward()
        adam.step()
        adam.zero_grad()
    return of((model.eval(), tokenizer))


def best_of(network: Network, text: str) -> str:
    found = max(evidence(network, text, 1), key=lambda one: one.score)
    return text[found.start : found.end]


def reports() -> list[str]:
    """The planted sentence among seven others: first, in the middle and last; longer than a window."""
    rng = np.random.default_rng(1)
    others = [said(rng.choice(SHARED, 8)) for _ in range(7)]
    return [" ".join([*others[:at], said(["fundo", PLANTED]), *others[at:]]) for at in (0, 4, 7)]


def test_the_sentence_with_the_word_that_alone_decides_is_found_wherever_it_stands(decided: Network) -> None:
    for text in reports():
        there, gone = log_odds(read(decided, [text, text.replace(PLANTED, "")]), 1)
        assert there > gone + 1
        assert best_of(decided, text) == f"Fundo {PLANTED}."


def test_of_a_network_that_learnt_nothing_of_it_the_word_is_no_evidence(tiny_texts: list[str]) -> None:
    untaught = of(bare_network("distilbert", tiny_texts))
    assert {best_of(untaught, text) for text in reports()} != {f"Fundo {PLANTED}."}


def test_what_speaks_for_one_label_speaks_against_the_other(decided: Network) -> None:
    text = reports()[1]
    for one, other in zip(evidence(decided, text, 1), evidence(decided, text, 0), strict=True):
        assert one.score == pytest.approx(-other.score, abs=1e-4)


def test_sentences_end_at_stops_semicolons_and_lines_but_not_inside_a_number() -> None:
    assert [TEXT[span.start : span.end] for span in sentences(TEXT)] == [
        "Citologia de mama.",
        "Nódulo de 1.5 cm;",
        "células coesas.",
        "Fundo com necrose.",
        "Ver lâmina 2",
    ]
    assert sentences("") == sentences(" \n...;") == []
    assert without(TEXT, sentences(TEXT)).split() == ["---"]


def test_marks_are_set_beside_the_highest_score() -> None:
    assert degrees([2.0, 1.0, 0.3, 0.1, -0.1, -0.3]) == [
        "strong",
        "strong",
        "some",
        "none",
        "none",
        "against",
    ]
    assert degrees([0.0, -1.0]) == ["none", "none"]
    assert degrees([]) == []


def test_a_text_without_words_has_no_evidence(tiny: Callable[[], Pair]) -> None:
    assert evidence(of(tiny()), "---\n;", 1) == []


def plain(letter: str) -> str:
    """Without case and accent, which some tokenizers take away."""
    return unicodedata.normalize("NFD", letter.lower())[0]


def test_every_token_of_every_window_stands_where_the_text_has_it(
    network: Pair, tiny_texts: list[str]
) -> None:
    tokenizer = network[1]
    text = "\n".join(tiny_texts[:6])
    windows = windows_of(tokenizer, [text], WINDOW, STRIDE).ids
    places = places_in(tokenizer, text, WINDOW, STRIDE)
    assert len(places) == len(windows) > 1
    for ids, at in zip(windows, places, strict=True):
        assert len(ids) == len(at)
        specials = tokenizer.get_special_tokens_mask(ids.tolist(), already_has_special_tokens=True)
        assert (at[np.array(specials) == 1] == -1).all()
        assert (np.diff(at[at >= 0]) >= 0).all()
        for one, place in zip(ids, at, strict=True):
            token = tokenizer.decode([int(one)]).strip().removeprefix("##")
            if place >= 0 and token.isascii() and token:
                assert plain(text[place]) == plain(token[-1])


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_evidence_adds_up_to_what_the_report_gained(tiny_texts: list[str], pooling: str) -> None:
    """Completeness, but for the number of steps. GPT-2 has no special tokens, which belong to no sentence."""
    pair = bare_network("gpt2", tiny_texts)
    able_to_pad(*pair)
    if pooling == "attention":
        pair = choosy(pair)
    network = of(pair, LongReports(together="max" if pooling == "max" else "mean"))
    text = "\n".join(tiny_texts[:5])
    assert len(windows_of(pair[1], [text], WINDOW, STRIDE).ids) > 2
    steps = [(step + 0.5) / 24 for step in range(24)]
    # each line's end is a token of its own: the sentences here reach up to the next one
    spans = [type(one)(one.start, one.end + 1) for one in sentences(text)]
    total = contributions(network, text, spans, 1, steps).sum()
    whole = log_odds(read(network, [text]), 1)[0]
    with torch.no_grad():
        pair[0].get_input_embeddings().weight.zero_()
    nothing = log_odds(read(network, [text]), 1)[0]
    assert abs(whole - nothing) > 1e-3
    assert total == pytest.approx(whole - nothing, rel=0.02)


def test_a_report_in_small_batches_has_the_same_evidence(
    tiny: Callable[[], Pair], tiny_texts: list[str]
) -> None:
    text = "\n".join(tiny_texts[:5])
    small, large = (
        [one.score for one in evidence(Network(*tiny(), WINDOW, STRIDE, tokens), text, 1)]
        for tokens in (WINDOW, 100 * WINDOW)
    )
    assert small == pytest.approx(large, abs=1e-5)


def test_every_contrast_scores_every_sentence(tiny: Callable[[], Pair], tiny_texts: list[str]) -> None:
    pair = tiny()
    pair[0].set_attn_implementation("eager")
    text = "\n".join(tiny_texts[:3])
    for way in (attention, occlusion, gradient_x_input):
        scores = way(of(pair), text, sentences(text), 1)
        assert scores.shape == (3,)
        assert scores.all()


def test_every_family_of_networks_can_be_explained(network: Pair, tiny_texts: list[str]) -> None:
    text = "\n".join(tiny_texts[:2])
    scores = [one.score for one in evidence(of(network), text, 1)]
    assert len(scores) == 2
    assert np.isfinite(scores).all()
    assert all(scores)
