"""Words are left out at random and yet the same after a kill; the network learns which they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tasks.ml.errors import TrainingDiverged, UnfitData, UnfitEncoder
from tasks.ml.network.encoder import EncoderSpec, able_to_pad, load_encoder
from tasks.ml.pretraining.masks import NOT_ASKED, Masks
from tasks.ml.pretraining.next_sentence import Pairs
from tasks.ml.pretraining.pretraining import exam, pretrain, share_back, speller
from tasks.ml.reading.windows import windows_of
from tasks.ml.training.token_store import FACTS, ROWS, TokenStore, kept_store, write_store
from tasks.ml.training.training import BodyTraining
from tests.ml.conftest import LABELS, WINDOW, Network, bare_network, save, written
from tests.ml.killed import told_by

CONFIG = BodyTraining(WINDOW, 0, epochs=4, learning_rate=3e-3, batch_windows=8, checkpoint_every_steps=4)
SCRATCH = EncoderSpec()

# Pre-trains in a child process each: one to the end, one killed twice, one that goes on
KILLED_AND_RESUMED = """
import json, sys
from pathlib import Path
from tasks.ml.network.encoder import EncoderSpec, make_scratch
from tasks.ml.pretraining.masks import Masks
from tasks.ml.pretraining.pretraining import pretrain, speller
from tasks.ml.training.token_store import kept_store, write_store
from tasks.ml.training.training import BodyTraining
from tests.ml.conftest import LABELS, written
from tests.ml.killed import in_child, killed_at, sha_of

root = Path(sys.argv[1])
texts, _ = written(60, seed=1, words=(5, 60))
config = BodyTraining(48, 0, epochs=3, learning_rate=2e-3, batch_windows=8, batch_tokens=200,
                      checkpoint_every_steps=4)

def train(folder, kill_at):
    body, tokenizer = make_scratch(texts, LABELS, EncoderSpec(window_tokens=48, hidden_size=32), seed=3)
    made = speller(body, EncoderSpec(), seed=3)
    kept = kept_store(root / folder / "tokens")
    store = kept or write_store(root / folder / "tokens", [texts[:30], texts[30:]], tokenizer, 48)
    log = pretrain(made, tokenizer, store, Masks(tokenizer, 5), config=config,
                   checkpoint_folder=root / folder, seed=5, progress=killed_at(kill_at))
    told = [sha_of(made), log.steps, log.losses, log.resumed_from_step, kept is not None]
    root.joinpath(folder + ".json").write_text(json.dumps(told))

victims = (("whole", 0), ("cut", 10), ("cut", 23), ("cut", 0))
print(json.dumps([in_child(lambda: train(*one)) for one in victims]))
"""


@pytest.fixture(scope="module")
def tokenizer(tiny: Callable[[], Network]) -> PreTrainedTokenizerBase:
    return tiny()[1]


def stored(tokenizer: PreTrainedTokenizerBase, folder: Path, texts: list[str]) -> TokenStore:
    return write_store(folder, [texts[:10], texts[10:]], tokenizer, WINDOW)


def test_masks_change_from_epoch_to_epoch_and_are_the_same_when_asked_again(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    windows = windows_of(tokenizer, written(20, 1)[0], WINDOW, 0)
    ids = windows.ids[0]
    masks, again, other = Masks(tokenizer, 1), Masks(tokenizer, 1), Masks(tokenizer, 2)

    def asked(of: Masks, window: int, epoch: int | None) -> list[int]:
        return np.flatnonzero(of.drawn(ids, window, epoch)[1] != NOT_ASKED).tolist()

    drawn = {tuple(asked(masks, 0, epoch)) for epoch in range(8)}
    assert len(drawn) > 4
    assert len({tuple(asked(masks, window, 0)) for window in range(8)}) > 4
    # whatever was drawn in between, and in whichever batch
    for window, epoch in ((0, 0), (3, 2), (0, None)):
        one, two = masks.drawn(ids, window, epoch), again.drawn(ids, window, epoch)
        assert all(np.array_equal(left, right) for left, right in zip(one, two, strict=True))
    assert [asked(other, 0, epoch) for epoch in range(4)] != [asked(masks, 0, epoch) for epoch in range(4)]
    batch = masks.batch([ids, windows.ids[1]], [7, 9], 1)
    assert batch["labels"][0, : len(ids)].tolist() == masks.drawn(ids, 7, 1)[1].tolist()


def test_a_seventh_of_the_tokens_is_asked_and_four_in_five_of_them_are_hidden(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    windows = windows_of(tokenizer, written(200, 1, words=(30, 31))[0], WINDOW, 0)
    masks = Masks(tokenizer, 1, whole_words=False)
    drawn = [masks.drawn(ids, number, 0) for number, ids in enumerate(windows.ids)]
    original = np.concatenate(windows.ids)
    shown, asked = (np.concatenate(part) for part in zip(*drawn, strict=True))
    at, special = asked != NOT_ASKED, np.isin(original, tokenizer.all_special_ids)
    assert not (at & special).any()
    assert at.sum() / (~special).sum() == pytest.approx(0.15, abs=0.005)
    assert np.array_equal(asked[at], original[at])
    assert np.array_equal(shown[~at], original[~at])
    assert np.mean(shown[at] == tokenizer.mask_token_id) == pytest.approx(0.8, abs=0.04)
    unchanged = np.mean(shown[at] == original[at])
    assert unchanged == pytest.approx(0.1, abs=0.03)
    exchanged = shown[at & (shown != original) & (shown != tokenizer.mask_token_id)]
    assert len(exchanged) > 0
    assert not np.isin(exchanged, tokenizer.all_special_ids).any()


def test_whole_words_are_asked_whole_and_pieces_only_where_pieces_are_wanted(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    text = "hipercromáticas desconhecidíssima mama xilofone pleomórficas zigoto " * 2
    [ids] = windows_of(tokenizer, [text], 256, 0).ids
    pieces = [token.startswith("##") for token in tokenizer.convert_ids_to_tokens(ids.tolist())]
    assert sum(pieces) > 10

    def torn(whole_words: bool) -> int:
        """How often a piece was asked and its neighbour in the same word was not."""
        masks = Masks(tokenizer, 1, whole_words=whole_words)
        drawn = [masks.drawn(ids, 0, epoch)[1] != NOT_ASKED for epoch in range(20)]
        return sum(
            bool(at[place] != at[place - 1]) for at in drawn for place in range(1, len(ids)) if pieces[place]
        )

    assert torn(whole_words=True) == 0
    assert torn(whole_words=False) > 20


def test_perplexity_falls_on_reports_that_taught_nothing(tiny: Callable[[], Network], tmp_path: Path) -> None:
    body, tokenizer = tiny()
    made, masks = speller(body, SCRATCH, seed=3), Masks(tokenizer, 1)
    held = written(40, seed=2)[0]
    before = exam(made, tokenizer, held, masks, WINDOW)
    store = stored(tokenizer, tmp_path / "tokens", written(60, seed=1)[0])
    log = pretrain(made, tokenizer, store, masks, config=CONFIG, checkpoint_folder=tmp_path, seed=1)
    after = exam(made, tokenizer, held, masks, WINDOW)
    assert before.perplexity > 0.5 * len(tokenizer)  # it knows nothing: one word is as likely as another
    assert after.perplexity < 60
    assert after.asked == before.asked
    assert after == exam(made, tokenizer, held, masks, WINDOW)
    assert log.losses[-1][1] < log.losses[0][1]
    kept = body.bert.pooler.dense.weight.clone()
    share_back(made, body)
    assert torch.equal(
        body.bert.embeddings.word_embeddings.weight, made.bert.embeddings.word_embeddings.weight
    )
    assert torch.equal(body.bert.pooler.dense.weight, kept)


@pytest.mark.slow
def test_a_killed_pre_training_ends_with_the_weights_and_the_curve_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    assert told_by(KILLED_AND_RESUMED, tmp_path) == [0, -9, -9, 0]
    whole, cut = (json.loads((tmp_path / name).read_text()) for name in ("whole.json", "cut.json"))
    assert whole[3:] == [0, False]
    assert cut[3:] == [20, True]  # from the second victim's last checkpoint, and on the same store
    assert cut[:3] == whole[:3]


def test_other_masks_are_another_pre_training(tiny: Callable[[], Network], tmp_path: Path) -> None:
    body, tokenizer = tiny()
    texts = written(12, seed=1)[0]
    config = replace(CONFIG, epochs=1)

    store = stored(tokenizer, tmp_path / "tokens", texts)

    def resumed(masks: Masks) -> int:
        made = speller(body, SCRATCH, seed=3)
        log = pretrain(made, tokenizer, store, masks, config=config, checkpoint_folder=tmp_path, seed=1)
        return log.resumed_from_step

    assert [resumed(Masks(tokenizer, seed)) for seed in (1, 2, 2)] == [0, 0, 2]


def test_a_loss_that_is_no_number_stops_it(tiny: Callable[[], Network], tmp_path: Path) -> None:
    body, tokenizer = tiny()
    made = speller(body, SCRATCH, seed=3)
    with torch.no_grad():
        made.bert.embeddings.word_embeddings.weight.fill_(float("nan"))
    store = stored(tokenizer, tmp_path / "tokens", written(24, seed=1)[0])
    with pytest.raises(TrainingDiverged, match="at step 1; last good checkpoint"):
        pretrain(
            made, tokenizer, store, Masks(tokenizer, 1), config=CONFIG, checkpoint_folder=tmp_path, seed=1
        )


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_every_family_that_knows_hidden_words_learns_and_gives_its_body_back(
    family: str, tiny: Callable[[], Network], tiny_texts: list[str], tmp_path: Path
) -> None:
    network = tiny() if family == "bert" else bare_network(family, tiny_texts)
    able_to_pad(*network)
    spec = EncoderSpec("folder", str(save(network, tmp_path / "encoder")))
    body, tokenizer = load_encoder(spec, LABELS)
    made, masks = speller(body, spec, seed=3), Masks(tokenizer, 1)
    assert masks.whole_words == (family in ("bert", "distilbert"))
    before = exam(made, tokenizer, tiny_texts[40:], masks, WINDOW)
    store = stored(tokenizer, tmp_path / "tokens", tiny_texts[:40])
    config = replace(CONFIG, epochs=1)
    pretrain(made, tokenizer, store, masks, config=config, checkpoint_folder=tmp_path, seed=1)
    assert exam(made, tokenizer, tiny_texts[40:], masks, WINDOW).loss < before.loss
    untouched = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    share_back(made, body)
    learnt = made.base_model.state_dict()
    shared = [name for name in body.base_model.state_dict() if name in learnt]
    assert len(shared) >= 8
    assert all(torch.equal(body.base_model.state_dict()[name], learnt[name]) for name in shared)
    head = [name for name in untouched if name.startswith("classifier.")]
    assert all(torch.equal(body.state_dict()[name], untouched[name]) for name in head)


def test_a_vocabulary_with_a_gap_in_its_ids_is_asked_for_and_drawn_from_as_it_is(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.__getitem__)
    vocabulary[last] += 3
    gapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        **{name: str(token) for name, token in tokenizer.special_tokens_map.items()},
    )
    ids = windows_of(gapped, [f"{last.removeprefix('##')} nódulo {last}. fundo"], WINDOW, 0).ids[0]
    ids[2] = vocabulary[last]
    masks, fresh = Masks(gapped, 1), set(range(len(gapped) - 1, vocabulary[last]))
    for window in range(200):
        assert not fresh & set(masks.drawn(ids, window, 0)[0].tolist())
    assert vocabulary[last] in masks.ordinary
    pairs = Pairs(gapped, masks, lambda _: (ids, 0), 1, WINDOW)
    assert pairs.drawn(0, 0)[2] == NOT_ASKED  # of one report alone


def test_a_decoder_is_refused(tiny_texts: list[str]) -> None:
    model, tokenizer = bare_network("gpt2", tiny_texts)
    with pytest.raises(UnfitEncoder, match="no token that stands for a hidden word"):
        Masks(tokenizer, 1)
    with pytest.raises(UnfitEncoder, match="cannot be asked which words were left out"):
        speller(model, SCRATCH, seed=1)


def test_a_store_is_whole_or_none_and_its_owners_alone(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    texts = written(24, seed=1)[0]
    folder = tmp_path / "tokens"
    assert kept_store(folder) is None
    made = stored(tokenizer, folder, texts)
    found = kept_store(folder)
    assert found is not None
    assert found.stored == made.stored
    assert found.stored.reports == 24
    whole = windows_of(tokenizer, texts, WINDOW, 0)
    assert found.lengths.tolist() == whole.lengths.tolist()
    assert [row["input_ids"].tolist() for row in found.rows] == [ids.tolist() for ids in whole.ids]
    assert folder.stat().st_mode & 0o077 == 0
    assert "células".encode() not in (folder / ROWS).read_bytes()
    (folder / FACTS).unlink()
    assert kept_store(folder) is None
    with pytest.raises(UnfitData, match="no report to read"):
        write_store(folder, [], tokenizer, WINDOW)
    assert not folder.exists()
