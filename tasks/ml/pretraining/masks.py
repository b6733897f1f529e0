"""Which words are left out of a window, and what stands in their place.

The masked language model of BERT (Devlin et al. 2019, "BERT: pre-training of deep bidirectional
transformers for language understanding"): of 15 % of a window's tokens, 80 % are hidden, 10 % exchanged for
a random one and 10 % left as they are, and all of them are asked for. Masks are drawn anew in every epoch
(Liu et al. 2019, "RoBERTa"), and whole words at a time where the tokenizer cuts words into pieces (Cui et
al. 2021, "Pre-training with whole word masking for Chinese BERT"): a piece is easily guessed from the rest
of its word.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from tasks.ml.arrays import Bools, Ints
from tasks.ml.errors import UnfitEncoder
from tasks.ml.reading.windows import Ids, padded

ASKED_SHARE = 0.15  # of a window's tokens
HIDDEN, EXCHANGED = 0.8, 0.1  # of the asked ones; the rest stays as it is
NOT_ASKED = -100  # what torch's cross-entropy leaves out


class Masks:
    """Which tokens are asked for: a function of seed, epoch and the window's number alone.

    So a run that was killed asks for the same again, whatever the batches were. (The collator of
    transformers draws from one stream for batch after batch, and cannot exchange whole words.)
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seed: int, *, whole_words: bool = True) -> None:
        if tokenizer.mask_token_id is None:
            raise UnfitEncoder(
                "this encoder's tokenizer has no token that stands for a hidden word (a decoder's has none); "
                "pre-train a BERT, RoBERTa, DistilBERT, XLM-R or ModernBERT"
            )
        self.hidden, self.pad, self.seed = int(tokenizer.mask_token_id), int(tokenizer.pad_token_id), seed
        self.special = np.unique(np.asarray(tokenizer.all_special_ids, np.int32))
        # ids may have gaps: the largest is no less than their number, and often more
        known = np.asarray(list(tokenizer.get_vocab().values()), np.int32)
        self.ordinary = np.setdiff1d(known, self.special)
        continues = _continues(tokenizer) if whole_words else None
        self.whole_words = continues is not None
        self.continues = np.zeros(1 + known.max(), bool) if continues is None else continues

    def drawn(self, ids: Ids, window: int, epoch: int | None) -> tuple[Ids, Ints]:
        """What the network is shown of a window, and what it is asked: (tokens,) each, NOT_ASKED elsewhere.

        `epoch` None: the masks of an exam, the same ones whenever it is set.
        """
        rng = np.random.default_rng([self.seed, 0 if epoch is None else 1 + epoch, window])
        shown, asked = ids.copy(), np.full(len(ids), NOT_ASKED, np.int64)
        unit, units = self._units(ids)
        if not units:
            return shown, asked
        sizes = np.bincount(unit[unit >= 0], minlength=units)
        order = rng.permutation(units)
        wanted = max(1, round(ASKED_SHARE * int(sizes.sum())))
        # as many whole words as there is room for, and one where the first is longer already
        chosen = order[: max(1, int(np.searchsorted(np.cumsum(sizes[order]), wanted, side="right")))]
        fate = np.full(units, np.nan)
        fate[chosen] = rng.random(len(chosen))
        of_token = np.where(unit >= 0, fate[unit], np.nan)
        at = ~np.isnan(of_token)
        asked[at] = ids[at]
        shown[of_token < HIDDEN] = self.hidden
        exchanged = (of_token >= HIDDEN) & (of_token < HIDDEN + EXCHANGED)
        shown[exchanged] = rng.choice(self.ordinary, int(exchanged.sum()))
        return shown, asked

    def batch(self, ids: Sequence[Ids], windows: Sequence[int], epoch: int | None) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask and labels, (windows, longest) each."""
        drawn = [self.drawn(one, window, epoch) for one, window in zip(ids, windows, strict=True)]
        shown, mask = padded([one for one, _ in drawn], self.pad)
        labels = torch.full(shown.shape, NOT_ASKED)
        for row, (_, asked) in enumerate(drawn):
            labels[row, : len(asked)] = torch.from_numpy(asked)
        return {"input_ids": shown, "attention_mask": mask, "labels": labels}

    def _units(self, ids: Ids) -> tuple[Ints, int]:
        """(tokens,) the number of each token's word, -1 for special ones; and how many words there are."""
        free = ~np.isin(ids, self.special)
        after_free = np.concatenate([[False], free[:-1]])
        starts = free & ~(self.continues[ids] & after_free)
        return np.where(free, np.cumsum(starts) - 1, -1), int(starts.sum())


def _continues(tokenizer: PreTrainedTokenizerBase) -> Bools | None:
    """(vocabulary,) which tokens go on with the word before; None where only WordPiece would tell."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model.get("type") != "WordPiece":
        return None
    prefix = model["continuing_subword_prefix"]
    return np.array([token is not None and token.startswith(prefix) for token in tokens_of(tokenizer)])


def tokens_of(tokenizer: PreTrainedTokenizerBase) -> list[str | None]:
    """The token of each id, up to the largest; None in a gap."""
    tokens: list[str | None] = tokenizer.convert_ids_to_tokens(range(1 + max(tokenizer.get_vocab().values())))
    return tokens
