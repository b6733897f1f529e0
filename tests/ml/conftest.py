"""Tiny networks of several families with random weights and tokenizers of their own, built on the spot."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from tasks.ml.network.artifact import LaudosJson
from tasks.ml.network.attentive import attentive
from tasks.ml.network.conformal import Thresholds
from tasks.ml.network.encoder import EncoderSpec, able_to_pad, encoder_sha, make_scratch
from tasks.ml.reading.vocabulary import word_piece_tokenizer

Network = tuple[PreTrainedModel, PreTrainedTokenizerBase]

LABELS = ("benigno", "maligno")
WINDOW, STRIDE = 48, 8
FAMILIES = ("bert", "roberta", "distilbert", "modernbert", "gpt2", "attentive", "sentences")

SHARED = ["citologia", "mama", "esquerda", "direita", "nódulo", "punção", "lâmina", "células", "fundo"]
TELLING = {
    0: ["coesas", "uniformes", "regulares", "pequenas", "bipolares", "apócrinas", "císticas"],
    1: ["atípicas", "pleomórficas", "volumosas", "hipercromáticas", "necrose", "mitoses"],
}


def written(n: int, seed: int, words: tuple[int, int] = (10, 30)) -> tuple[list[str], np.ndarray]:
    """Reports of `words` words whose vocabulary leans towards their label, and the labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    texts = []
    for label in labels:
        length = int(rng.integers(*words))
        own = rng.choice(TELLING[int(label)], length)
        common = rng.choice(SHARED + TELLING[1 - int(label)][:2], length)
        texts.append(" ".join(np.where(rng.random(length) < 0.35, own, common)) + ".")
    return texts, labels


@pytest.fixture(scope="session")
def tiny_texts() -> list[str]:
    return written(60, seed=1)[0]


@pytest.fixture(scope="session")
def tiny(tiny_texts: list[str]) -> Callable[[], Network]:
    """A fresh two-layer BERT at every call, always with the same weights."""
    spec = EncoderSpec(window_tokens=WINDOW, hidden_size=32, layers=2, attention_heads=2, vocabulary=220)
    return lambda: make_scratch(tiny_texts, LABELS, spec, seed=3)


def network_of(family: str, texts: list[str], tiny: Callable[[], Network]) -> Network:
    """A tiny one of this family, able to pad."""
    if family == "attentive":
        made = choosy(tiny())
    elif family == "sentences":
        made = by_sentence(texts)
    else:
        made = tiny() if family == "bert" else bare_network(family, texts)
    able_to_pad(*made)
    return made


@pytest.fixture(params=FAMILIES)
def network(request: pytest.FixtureRequest, tiny_texts: list[str], tiny: Callable[[], Network]) -> Network:
    return network_of(request.param, tiny_texts, tiny)


@pytest.fixture
def facts_of() -> Callable[[Network], LaudosJson]:
    """laudos.json for a network."""

    def made(network: Network) -> LaudosJson:
        return LaudosJson(
            classifier="mama",
            labels=LABELS,
            critical="maligno",
            window_tokens=WINDOW,
            stride_tokens=STRIDE,
            encoder_sha=encoder_sha(*network, WINDOW, STRIDE),
            snapshot_sha="0" * 64,
            seed=1,
            created_at=datetime(2026, 11, 23, tzinfo=UTC),
            thresholds=Thresholds((0.5, float("inf")), (40, 3), (0.05, 0.02)),
        )

    return made


def choosy(network: Network) -> Network:
    """The same body under attention that weighs tokens very differently."""
    return _choosing(attentive(network[0], seed=5)), network[1]


def by_sentence(texts: Sequence[str]) -> Network:
    """A tiny BERT that reads each sentence by itself, under attention as `choosy`."""
    spec = EncoderSpec(window_tokens=WINDOW, hidden_size=32, vocabulary=220, attention=True, sentences=True)
    model, tokenizer = make_scratch(texts, LABELS, spec, seed=3)
    return _choosing(model), tokenizer


def _choosing(model: PreTrainedModel) -> PreTrainedModel:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        model.attention.score.weight.normal_()
    return model


def deeper(network: Network, layers: int) -> Network:
    """The same family with so many layers, drawn anew."""
    model, tokenizer = network
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = ["full_attention", *["sliding_attention"] * (layers - 1)]
    torch.manual_seed(4)
    return type(model)(config).eval(), tokenizer


def save(network: Network, folder: Path) -> Path:
    for part in network:
        part.save_pretrained(folder)
    return folder


def bare_network(family: str, texts: Sequence[str]) -> Network:
    """As its makers publish it: GPT-2 without a padding token."""
    torch.manual_seed(5)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
    if family == "distilbert":
        tokenizer = word_piece_tokenizer(texts, None, 220, WINDOW)
        config = DistilBertConfig(
            vocab_size=len(tokenizer), dim=32, n_layers=1, n_heads=2, hidden_dim=64,
            max_position_embeddings=WINDOW, **names,
        )  # fmt: skip
        return DistilBertForSequenceClassification(config).eval(), tokenizer
    tokenizer = _unigram(texts) if family == "xlm-roberta" else _byte_level(texts, specials=family != "gpt2")
    vocabulary = len(tokenizer)
    if family == "gpt2":
        gpt2 = GPT2Config(
            vocab_size=vocabulary, n_positions=WINDOW, n_embd=32, n_layer=1, n_head=2,
            bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id, **names,
        )  # fmt: skip
        return GPT2ForSequenceClassification(gpt2).eval(), tokenizer
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    sizes = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    if family in ("roberta", "xlm-roberta"):
        # their table of positions begins after the padding index
        config_of, network_of = (
            (RobertaConfig, RobertaForSequenceClassification)
            if family == "roberta"
            else (XLMRobertaConfig, XLMRobertaForSequenceClassification)
        )
        roberta = config_of(
            **sizes,
            **ids,
            **names,
            intermediate_size=64,
            max_position_embeddings=WINDOW + 2,
            type_vocab_size=1,
        )
        return network_of(roberta).eval(), tokenizer
    modern = ModernBertConfig(
        **sizes, **ids, **names, intermediate_size=64, max_position_embeddings=WINDOW,
        cls_token_id=tokenizer.cls_token_id, sep_token_id=tokenizer.sep_token_id,
    )  # fmt: skip
    return ModernBertForSequenceClassification(modern).eval(), tokenizer


def _byte_level(texts: Sequence[str], *, specials: bool) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer as RoBERTa's, or without special tokens around the text as GPT-2's."""
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if specials else ["<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=names,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if not specials:
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token=names[0], eos_token=names[0], unk_token=names[0]
        )
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>"))
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>",
    )  # fmt: skip


def _unigram(texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """XLM-R's kind: pieces of a unigram model, blanks written as part of the word that follows."""
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=names, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>",
    )  # fmt: skip
