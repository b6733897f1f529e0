"""A network that reads each sentence by itself: where sentences end, and that no other is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import normalizers

from tasks.ml.network.attentive import attentive
from tasks.ml.network.encoder import encoder_sha, load_classifier
from tasks.ml.network.features import encode
from tasks.ml.network.fused_attention import fused_attention
from tasks.ml.reading.sentences import ended_sentences, ends_of
from tasks.ml.reading.windows import padded, places_in, windows_of
from tests.ml.conftest import STRIDE, WINDOW, Network, by_sentence, choosy, save

FIRST, SECOND, THIRD = "nódulo com necrose.", "células coesas e uniformes;", "fundo de mitoses."


@pytest.fixture(scope="module")
def reader(tiny_texts: list[str]) -> Network:
    return by_sentence(tiny_texts)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Sem atipias. Com mitoses.", ["Sem atipias", "Com mitoses"]),
        ("Sem atipias;com mitoses", ["Sem atipias", "com mitoses"]),
        ("Mede 2.5 cm em 12.03.2026. Sem atipias.", ["Mede 2,5 cm em 12,03,2026", "Sem atipias"]),
        ("Não há céls. atípicas.", ["Não há céls atípicas"]),
        ("Ausência de p. ex. mitoses, Dr. J. Silva.", ["Ausência de p ex mitoses, Dr J Silva"]),
        ("NÃO HÁ CÉLS. ATÍPICAS.", ["NÃO HÁ CÉLS ATÍPICAS"]),
        ("Nódulo benigno\nSem atipias", ["Nódulo benigno", "Sem atipias"]),
        ("Não se observam\natipias", ["Não se observam atipias"]),  # a line that was too long
        ("NÃO SE OBSERVAM\nATIPIAS", ["NÃO SE OBSERVAM ATIPIAS"]),
        ("Ausência de:\n- Mitoses\n- Necrose", ["Ausência de: - Mitoses - Necrose"]),
        ("MATERIAL\n\nNÓDULO", ["MATERIAL", "NÓDULO"]),
        ("material\n\nnódulo", ["material", "nódulo"]),
    ],
)
def test_in_doubt_a_sentence_goes_on(text: str, sentences: list[str]) -> None:
    ended = normalizers.Sequence(ended_sentences()).normalize_str(text)
    parts = [" ".join(part.split()) for part in ended.replace(";", ".").split(".")]
    assert [part for part in parts if part] == sentences


def states_of(network: Network, text: str) -> np.ndarray:
    """(tokens, hidden) without those around the text."""
    model, tokenizer = network
    ids, mask = padded(windows_of(tokenizer, [text], WINDOW, STRIDE).ids, tokenizer.pad_token_id)
    with torch.inference_mode():
        states = model(ids, mask, output_hidden_states=True).hidden_states[0][0]
    return np.asarray(states[1:-1])


def test_a_sentence_is_read_alike_wherever_it_stands(reader: Network, tiny: Callable[[], Network]) -> None:
    def apart(network: Network) -> float:
        """The largest difference between a sentence in a report and the same sentence alone."""
        alone = states_of(network, SECOND)
        before = len(states_of(network, FIRST))
        within = states_of(network, f"{FIRST} {SECOND} {THIRD}")[before : before + len(alone)]
        return float(np.abs(within - alone).max())

    assert apart(reader) < 1e-5
    assert apart(choosy(tiny())) > 0.1  # whose tokens see the whole window


def test_the_order_of_sentences_makes_no_difference(reader: Network) -> None:
    texts = [f"{FIRST} {SECOND} {THIRD}", f"{THIRD} {SECOND} {FIRST}", f"{FIRST} {THIRD}"]
    read = encode(*reader, texts, window_tokens=WINDOW, stride_tokens=STRIDE).vectors
    np.testing.assert_allclose(read[0], read[1], atol=1e-5)
    assert np.abs(read[0] - read[2]).max() > 1e-3


def test_a_short_report_is_read_alike_beside_a_long_one(reader: Network) -> None:
    texts = [SECOND, f"{FIRST} {THIRD} " * 4]
    together = encode(*reader, texts, window_tokens=WINDOW, stride_tokens=STRIDE).vectors[0]
    alone = encode(*reader, texts[:1], window_tokens=WINDOW, stride_tokens=STRIDE).vectors[0]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_long_report_is_cut_between_its_sentences_and_explained_by_the_same_windows(
    reader: Network,
) -> None:
    _, tokenizer = reader
    text = " ".join([FIRST, SECOND, THIRD] * 12)
    windows = windows_of(tokenizer, [text], WINDOW, STRIDE)
    ends = ends_of(tokenizer)
    assert len(windows.ids) > 2
    assert all(ids[-2] in ends for ids in windows.ids)
    assert windows.tokens_seen == windows.tokens_total == sum(len(ids) - 2 for ids in windows.ids)
    places = places_in(tokenizer, text, WINDOW, STRIDE)
    assert [len(one) for one in places] == windows.lengths.tolist()
    assert all(text[one[-2]] in ".;" for one in places)


def test_training_without_dropout_in_attention_sees_no_other_sentence_either(reader: Network) -> None:
    with fused_attention(reader[0]):
        alone, within = states_of(reader, FIRST), states_of(reader, f"{FIRST} {SECOND}")
    np.testing.assert_allclose(within[: len(alone)], alone, atol=1e-5)


def test_a_saved_network_reads_sentences_again(reader: Network, tmp_path: Path) -> None:
    again = load_classifier(str(save(reader, tmp_path)))
    assert encoder_sha(*again, WINDOW, STRIDE) == encoder_sha(*reader, WINDOW, STRIDE)
    text = f"Não há céls. atípicas\n{FIRST}"
    np.testing.assert_array_equal(states_of(again, text), states_of(reader, text))


def test_a_network_whose_tokens_see_the_whole_window_is_named_as_before_there_was_a_choice(
    tiny: Callable[[], Network],
) -> None:
    assert "sentence_ends" not in attentive(tiny()[0], seed=1).config.to_dict()
