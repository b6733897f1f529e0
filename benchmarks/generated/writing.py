"""Samples of the two networks: reports continued from their first half, and reports with words replaced."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from benchmarks.generated.checks import Sample
from benchmarks.generated.networks import POSITIONS, Network
from tasks.ml.variety.synonyms import shipped

PROMPT_SHARE = 0.5  # of a report's tokens
TOP_P = 0.95
REPLACED_SHARE = 0.15
BATCH = 64
SHORT_WORD = 4  # "sem", "não", "nega": never replaced; nor are degrees, nor numbers


def continued(network: Network, texts: Sequence[str], seed: int) -> list[Sample]:
    """One sample a report: its first half, and what the network says next, as long as the second at most."""
    model, tokenizer = network
    all_ids = tokenizer(list(texts), truncation=True, max_length=POSITIONS)["input_ids"]
    order = np.argsort([len(ids) for ids in all_ids], kind="stable")
    samples = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            # one length for all in the batch, that of its shortest: no padding stands inside a report
            size = max(2, int(len(all_ids[some[0]]) * PROMPT_SHARE))
            prompt = torch.tensor([all_ids[at][:size] for at in some])
            said = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=True,
                top_p=TOP_P,
                top_k=0,
                max_new_tokens=min(size, POSITIONS - size),
                pad_token_id=tokenizer.pad_token_id,
            )
            for at, ids in zip(some, said, strict=True):
                text, new = (tokenizer.decode(part, skip_special_tokens=True) for part in (ids, ids[size:]))
                samples.append(Sample(text, new, int(at)))
    return samples


def replaced(network: Network, texts: Sequence[str], seed: int) -> list[Sample]:
    """One sample a report: some of its whole words drawn anew from what the network expects there."""
    model, tokenizer = network
    fixed = _never_replaced(network)
    rng, samples = np.random.default_rng(seed), []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number, text in enumerate(texts):
            ids = tokenizer(text, truncation=True, max_length=POSITIONS, return_tensors="pt")["input_ids"][0]
            free = ~fixed[ids] & ~_in_pieces(ids, tokenizer.convert_ids_to_tokens(ids.tolist()))
            at = free & torch.from_numpy(rng.random(len(ids)) < REPLACED_SHARE)
            if not at.any():
                continue
            shown = ids.masked_fill(at, tokenizer.mask_token_id)[None]
            told = model(input_ids=shown, attention_mask=torch.ones_like(shown)).logits[0, at]
            told[:, fixed] = -torch.inf
            ids[at] = torch.multinomial(told.softmax(-1), 1)[:, 0]
            said = tokenizer.decode(ids, skip_special_tokens=True)
            samples.append(Sample(said, said, number))
    return samples


def _never_replaced(network: Network) -> torch.Tensor:
    """(vocabulary,): pieces, short words, numbers, signs and words of degree."""
    tokenizer = network[1]
    degrees = {word for group in shipped().groups if group.strength != "none" for word in group.words}
    fixed = torch.ones(len(tokenizer), dtype=torch.bool)
    for token, at in tokenizer.get_vocab().items():
        fixed[at] = not (token.isalpha() and len(token) > SHORT_WORD and token not in degrees)
    return fixed


def _in_pieces(ids: torch.Tensor, tokens: Sequence[str]) -> torch.Tensor:
    """(tokens,): whether a piece of the same word follows."""
    return torch.tensor([after.startswith("##") for _, after in pairwise([*tokens, ""])])
