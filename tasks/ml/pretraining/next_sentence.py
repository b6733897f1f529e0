"""Pairs for BERT's second question in pre-training: does this part of a report follow the other?

A window is cut at the end of a sentence; its second part stays, or is exchanged for a part of another report
(Devlin et al. 2019). Of the two that could stand there, whichever does is cut to the length of the shorter,
so that no length tells which it is. What the question is of use for here: it alone teaches a BERT's pooler,
the layer that a classifying head reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.arrays import Ints
from tasks.ml.errors import UnfitData, UnfitEncoder
from tasks.ml.network.features import evaluating
from tasks.ml.pretraining.masks import NOT_ASKED, Masks, tokens_of
from tasks.ml.pretraining.pretraining import answered
from tasks.ml.reading.windows import Ids, windows_of
from tasks.ml.training.token_store import TokenStore

FOLLOWS, FOREIGN = 0, 1  # as transformers' BertForPreTraining has them
ENDS = (".", "!", "?", ";")
OTHERS_TRIED = 8  # to find a window of another report that can be cut
EXAM_PAIRS = 16  # a batch of an exam

# number of a window -> its token ids, special ones included, and the number of its report
Source = Callable[[int], tuple[Ids, int]]


class Pairs:
    """Pairs of a corpus' windows: a function of seed, epoch and the window's number alone, as Masks is."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        masks: Masks,
        source: Source,
        windows: int,
        window_tokens: int,
    ) -> None:
        self.masks, self.source, self.windows, self.room = masks, source, windows, window_tokens - 3
        self.begins, self.parts = int(tokenizer.cls_token_id), int(tokenizer.sep_token_id)
        tokens = tokens_of(tokenizer)
        self.ends = np.array([token in ENDS for token in tokens])
        self.digits = np.array([token is not None and token[:1].isdigit() for token in tokens])

    def drawn(self, window: int, epoch: int | None) -> tuple[Ids, Ids, int]:
        """Token ids, the part that each belongs to (0 or 1), and FOLLOWS, FOREIGN or NOT_ASKED.

        NOT_ASKED, and one part, for a window in which no sentence ends, or where no other report has one.
        """
        rng = np.random.default_rng([self.masks.seed, 0 if epoch is None else 1 + epoch, window, 1])
        whole, report = self.source(window)
        body = whole[1:-1]
        cuts = self._cuts(body)
        foreign = self._foreign(rng, report) if len(cuts) else None
        if foreign is None:
            return whole, np.zeros(len(whole), np.int32), NOT_ASKED
        cut = int(rng.choice(cuts))
        first, second = body[:cut][-(self.room - self.room // 2) :], body[cut:]
        length = min(len(second), len(foreign), self.room - len(first))
        told = FOREIGN if rng.random() < 0.5 else FOLLOWS
        second = (foreign if told == FOREIGN else second)[:length]
        ids = np.concatenate([[self.begins], first, [self.parts], second, [self.parts]]).astype(np.int32)
        return ids, np.repeat(np.array([0, 1], np.int32), [len(first) + 2, length + 1]), told

    def batch(self, windows: Sequence[int], epoch: int | None) -> dict[str, torch.Tensor]:
        """What Masks.batch gives, with token_type_ids (windows, longest) and follows (windows,)."""
        drawn = [self.drawn(window, epoch) for window in windows]
        found = self.masks.batch([ids for ids, _, _ in drawn], windows, epoch)
        types = torch.zeros_like(found["input_ids"])
        for row, (_, part, _) in enumerate(drawn):
            types[row, : len(part)] = torch.from_numpy(part)
        return found | {"token_type_ids": types, "follows": torch.tensor([told for _, _, told in drawn])}

    def _foreign(self, rng: np.random.Generator, report: int) -> Ids | None:
        """What stands after the end of a sentence in a window of another report."""
        for window in rng.integers(self.windows, size=OTHERS_TRIED):
            ids, whose = self.source(int(window))
            cuts = self._cuts(ids[1:-1])
            if whose != report and len(cuts):
                return ids[1:-1][int(rng.choice(cuts)) :]
        return None

    def _cuts(self, body: Ids) -> Ints:
        """Where a sentence begins within a window; the point in 1.5 ends none."""
        return np.flatnonzero(self.ends[body[:-1]] & ~self.digits[body[1:]]) + 1


def pairs_in(
    store: TokenStore, tokenizer: PreTrainedTokenizerBase, masks: Masks, window_tokens: int
) -> Pairs:
    """Of what teaches."""

    def read(window: int) -> tuple[Ids, int]:
        row = store.rows[window]
        return np.asarray(row["input_ids"], np.int32), int(row["report"])

    return Pairs(tokenizer, masks, read, store.stored.windows, window_tokens)


def pairs_of(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, masks: Masks, window_tokens: int
) -> Pairs:
    """Of what examines."""
    found = windows_of(tokenizer, texts, window_tokens, 0)

    def read(window: int) -> tuple[Ids, int]:
        return found.ids[window], int(found.owner[window])

    return Pairs(tokenizer, masks, read, len(found.ids), window_tokens)


def must_be_a_bert(model: PreTrainedModel) -> None:
    """Raise UnfitEncoder for a family that was never asked what follows."""
    if model.config.model_type != "bert":
        raise UnfitEncoder(
            f"{type(model).__name__} was never asked which sentence follows: that is BERT's own; "
            "leave --next-sentence out"
        )


def pair_exam(spelling: PreTrainedModel, pairs: Pairs) -> tuple[int, int]:
    """How many pairs were asked for, and of how many it was known; the same pairs at every call.

    Raises UnfitData where none can be asked.
    """
    asked, right = 0, 0
    with evaluating(spelling), torch.inference_mode():
        for start in range(0, pairs.windows, EXAM_PAIRS):
            batch = pairs.batch(range(start, min(start + EXAM_PAIRS, pairs.windows)), None)
            found = answered(spelling, {name: one.to(spelling.device) for name, one in batch.items()})
            assert found.follows is not None  # the batch asks for it
            said, at = found.follows.argmax(dim=-1).cpu(), batch["follows"] != NOT_ASKED
            asked, right = asked + int(at.sum()), right + int((said == batch["follows"])[at].sum())
    if not asked:
        raise UnfitData("in no window of the held-out reports a sentence ends: leave --next-sentence out")
    return asked, right
