"""Small networks trained here on the training split's texts alone: a causal one, and one that fills gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tasks.ml.quiet import quietly
from tasks.ml.reading.vocabulary import word_piece_tokenizer

POSITIONS = 384
IGNORED = -100  # what cross-entropy leaves out

Tensor = torch.Tensor
Network = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@dataclass(frozen=True)
class Writer:
    """Size and training: a minute or two on one core."""

    hidden_size: int = 128
    layers: int = 2
    heads: int = 2
    vocabulary: int = 1500
    steps: int = 400
    batch_blocks: int = 16
    block_tokens: int = 128
    learning_rate: float = 2e-3
    masked_share: float = 0.15


def causal(texts: Sequence[str], rows: Sequence[str], how: Writer, seed: int) -> Network:
    """GPT-2's architecture (Radford et al. 2019) from random weights."""
    tokenizer = word_piece_tokenizer(texts, rows, how.vocabulary, POSITIONS)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=POSITIONS, n_embd=how.hidden_size, n_layer=how.layers,
        n_head=how.heads, bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return _trained(GPT2LMHeadModel, config, tokenizer, texts, how, seed, lambda ids, _rng: (ids, ids))


def masked(texts: Sequence[str], rows: Sequence[str], how: Writer, seed: int) -> Network:
    """BERT's masked language model (Devlin et al. 2019) from random weights."""
    tokenizer = word_piece_tokenizer(texts, rows, how.vocabulary, POSITIONS)
    config = BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=POSITIONS, hidden_size=how.hidden_size,
        num_hidden_layers=how.layers, num_attention_heads=how.heads, intermediate_size=4 * how.hidden_size,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip

    def hidden(ids: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        at = torch.from_numpy(rng.random(ids.shape) < how.masked_share)
        return ids.masked_fill(at, tokenizer.mask_token_id), ids.masked_fill(~at, IGNORED)

    return _trained(BertForMaskedLM, config, tokenizer, texts, how, seed, hidden)


def _trained(
    family: Callable[..., PreTrainedModel],
    config: object,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    how: Writer,
    seed: int,
    asked: Callable[[Tensor, np.random.Generator], tuple[Tensor, Tensor]],
) -> Network:
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family(config).train()
        adam = torch.optim.AdamW(model.parameters(), lr=how.learning_rate)
        falling = torch.optim.lr_scheduler.OneCycleLR(adam, how.learning_rate, total_steps=how.steps)
        rng = np.random.default_rng(seed)
        for block in _batches(_stream(texts, tokenizer), how, rng):
            shown, wanted = asked(block, rng)
            model(input_ids=shown, attention_mask=torch.ones_like(shown), labels=wanted).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            falling.step()
            adam.zero_grad()
    return model.eval(), tokenizer


def _stream(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """All reports behind each other, each between [CLS] and [SEP]."""
    return torch.tensor([token for ids in tokenizer(list(texts))["input_ids"] for token in ids])


def _batches(stream: Tensor, how: Writer, rng: np.random.Generator) -> Iterator[Tensor]:
    size = min(how.block_tokens, len(stream))
    for _ in range(how.steps):
        starts = rng.integers(0, len(stream) - size + 1, size=how.batch_blocks)
        yield torch.stack([stream[start : start + size] for start in starts])
