"""Which part of a report follows: pairs that no length gives away, and a network that learns to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from tasks.ml.errors import UnfitData, UnfitEncoder
from tasks.ml.network.encoder import EncoderSpec, make_scratch
from tasks.ml.pretraining.masks import NOT_ASKED, Masks
from tasks.ml.pretraining.next_sentence import FOLLOWS, FOREIGN, must_be_a_bert, pair_exam, pairs_in, pairs_of
from tasks.ml.pretraining.pretraining import pretrain, speller
from tasks.ml.training.token_store import write_store
from tasks.ml.training.training import BodyTraining
from tests.ml.conftest import LABELS, SHARED, TELLING, WINDOW, Network, bare_network

WORDS = [*SHARED, *TELLING[0], *TELLING[1]]
CONFIG = BodyTraining(WINDOW, 0, epochs=1, learning_rate=3e-3, batch_windows=16)


def reports(n: int, seed: int) -> list[str]:
    """Sentences of four words; a report keeps to three words of its own."""
    rng = np.random.default_rng(seed)
    themes = [WORDS[start : start + 3] for start in range(0, 12, 3)]
    return [
        " ".join(" ".join(rng.choice(themes[number % 4], 4)) + "." for _ in range(rng.integers(3, 7)))
        for number in range(n)
    ]


@pytest.fixture(scope="module")
def tokenizer(tiny: Callable[[], Network]) -> PreTrainedTokenizerBase:
    return tiny()[1]


def test_a_part_follows_its_own_report_or_comes_from_another_and_its_length_does_not_tell(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    texts = reports(200, seed=1)
    pairs = pairs_of(texts, tokenizer, Masks(tokenizer, 1), WINDOW)
    point, lengths = tokenizer.convert_tokens_to_ids("."), {FOLLOWS: [], FOREIGN: []}
    for number in range(200):
        ids, part, told = pairs.drawn(number, 0)
        whole = pairs.source(number)[0].tolist()
        assert len(ids) <= WINDOW
        first, second = ids[part == 0].tolist()[1:-1], ids[part == 1].tolist()[:-1]
        assert first[-1] == point
        together = first + second
        own = any(whole[at : at + len(together)] == together for at in range(len(whole)))
        assert own or told == FOREIGN
        lengths[told].append(len(second))
    assert 70 < len(lengths[FOREIGN]) < 130
    assert np.mean(lengths[FOLLOWS]) == pytest.approx(np.mean(lengths[FOREIGN]), rel=0.15)
    drawn = [pairs.drawn(3, epoch) for epoch in (0, 1, 2, None)]
    assert len({tuple(ids.tolist()) for ids, _, _ in drawn}) > 1
    again = pairs_of(texts, tokenizer, Masks(tokenizer, 1), WINDOW).drawn(3, 1)
    assert all(np.array_equal(left, right) for left, right in zip(drawn[1], again, strict=True))


def test_a_window_in_which_no_sentence_ends_is_asked_for_words_only(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    texts = ["nódulo de 1.5 cm na mama esquerda", "mama direita. células coesas", "mama. fundo"]
    pairs = pairs_of(texts, tokenizer, Masks(tokenizer, 1), WINDOW)
    batch = pairs.batch([0, 1], 0)
    assert batch["follows"][0] == NOT_ASKED
    assert batch["follows"][1] != NOT_ASKED
    assert batch["token_type_ids"][0].sum() == 0
    assert (batch["labels"][0] != NOT_ASKED).any()
    alone = pairs_of(texts[1:2], tokenizer, Masks(tokenizer, 1), WINDOW)
    assert alone.drawn(0, 0)[2] == NOT_ASKED  # there is no other report to take a part from


def test_it_is_what_teaches_the_pooler(tiny: Callable[[], Network], tmp_path: Path) -> None:
    body, tokenizer = tiny()
    masks, texts = Masks(tokenizer, 1), reports(16, seed=1)
    store = write_store(tmp_path / "tokens", [texts], tokenizer, WINDOW)

    def moved(*, asked: bool) -> bool:
        made = speller(body, EncoderSpec(), seed=3, next_sentence=True)
        pairs = pairs_in(store, tokenizer, masks, WINDOW).batch if asked else None
        pretrain(
            made, tokenizer, store, masks, config=CONFIG, checkpoint_folder=tmp_path, seed=1, batch_of=pairs
        )
        return not torch.equal(made.bert.pooler.dense.weight, body.bert.pooler.dense.weight)

    assert moved(asked=True)
    assert not moved(asked=False)


@pytest.mark.slow
def test_a_network_learns_to_tell_what_follows_on_reports_that_taught_nothing(tmp_path: Path) -> None:
    taught, held = reports(120, seed=1), reports(60, seed=2)
    spec = EncoderSpec(window_tokens=WINDOW, hidden_size=32, vocabulary=220)
    body, tokenizer = make_scratch(taught, LABELS, spec, 3)
    made, masks = speller(body, EncoderSpec(), 3, next_sentence=True), Masks(tokenizer, 1)
    for part in made.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # a network this small learns in half of the passes without it
    questions = pairs_of(held, tokenizer, masks, WINDOW)
    store = write_store(tmp_path / "tokens", [taught], tokenizer, WINDOW)
    before = pair_exam(made, questions)
    pretrain(
        made, tokenizer, store, masks, config=replace(CONFIG, epochs=40), checkpoint_folder=tmp_path, seed=1,
        batch_of=pairs_in(store, tokenizer, masks, WINDOW).batch,
    )  # fmt: skip
    after = pair_exam(made, questions)
    assert before[0] == after[0] == 60
    assert before[1] < 40
    assert after[1] > 44  # one foreign part in four is of the same words: 52 can be known


def test_other_families_and_reports_without_sentences_are_refused(
    tiny: Callable[[], Network], tiny_texts: list[str]
) -> None:
    with pytest.raises(UnfitEncoder, match="leave --next-sentence out"):
        must_be_a_bert(bare_network("distilbert", tiny_texts)[0])
    body, tokenizer = tiny()
    made = speller(body, EncoderSpec(), seed=3, next_sentence=True)
    with pytest.raises(UnfitData, match="leave --next-sentence out"):
        pair_exam(made, pairs_of(["mama", "nódulo"], tokenizer, Masks(tokenizer, 1), WINDOW))
