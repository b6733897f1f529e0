"""Pre-training on reports: words are left out, and the network says which they were.

The masked language model of BERT (Devlin et al. 2019, "BERT: pre-training of deep bidirectional
transformers for language understanding"): of 15 % of a window's tokens, 80 % are hidden, 10 % exchanged for
a random one and 10 % left as they are, and all of them are asked for. Masks are drawn anew in every epoch
(Liu et al. 2019, "RoBERTa"), and whole words at a time where the tokenizer cuts words into pieces (Cui et
al. 2021, "Pre-training with whole word masking for Chinese BERT"): a piece is easily guessed from the rest
of its word. Continued on a hospital's own reports this is domain-adaptive pre-training (Gururangan et al.
2020, "Don't stop pretraining").
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import AutoModelForMaskedLM, PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.encoder import EncoderSpec, check_window, where_of
from tasks.ml.errors import UnfitData, UnfitEncoder
from tasks.ml.features import Progress, evaluating
from tasks.ml.quiet import quietly
from tasks.ml.token_store import TokenStore
from tasks.ml.training import BodyTraining, TrainLog, train_on
from tasks.ml.windows import Ids, Ints, padded, token_budget_batches, windows_of

ASKED_SHARE = 0.15  # of a window's tokens
HIDDEN, EXCHANGED = 0.8, 0.1  # of the asked ones; the rest stays as it is
NOT_ASKED = -100  # what torch's cross-entropy leaves out
EXAM_LOGITS = 50_000_000  # held at once, as if every token were asked for
CONTINUED_RATE, SCRATCH_RATE = 5e-5, 5e-4
CONTINUED_EPOCHS, SCRATCH_EPOCHS = 3.0, 10.0


def pretraining(reports: BodyTraining, *, scratch: bool) -> BodyTraining:
    """How a network is pre-trained, where one that learns its question reads reports so."""
    return replace(
        reports,
        epochs=SCRATCH_EPOCHS if scratch else CONTINUED_EPOCHS,
        learning_rate=SCRATCH_RATE if scratch else CONTINUED_RATE,
        stride_tokens=0,  # a word is asked for once an epoch, not once in each of two windows
        mixed_precision=True,
    )


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
        self.ordinary = np.setdiff1d(np.arange(len(tokenizer), dtype=np.int32), self.special)
        continues = _continues(tokenizer) if whole_words else None
        self.whole_words = continues is not None
        self.continues = np.zeros(len(tokenizer), bool) if continues is None else continues

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


def _continues(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.bool_] | None:
    """(vocabulary,) which tokens go on with the word before; None where only WordPiece would tell."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model.get("type") != "WordPiece":
        return None
    prefix, tokens = (
        model["continuing_subword_prefix"],
        tokenizer.convert_ids_to_tokens(range(len(tokenizer))),
    )
    return np.array([token is not None and token.startswith(prefix) for token in tokens])


def speller(body: PreTrainedModel, spec: EncoderSpec, seed: int) -> PreTrainedModel:
    """A network of `body`'s family and weights that says which words were left out, in evaluation mode.

    Where the encoder's folder holds the head that was trained with it, that one; else one drawn by `seed`.
    Raises UnfitEncoder for a family that has none.
    """
    try:
        with quietly(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if spec.kind == "scratch":
                made = AutoModelForMaskedLM.from_config(body.config)
            else:
                name, where = where_of(spec)
                made = AutoModelForMaskedLM.from_pretrained(
                    name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32, **where
                )
    except Exception as error:  # transformers raises whatever its dozens of parts raise
        raise UnfitEncoder(
            f"{type(body).__name__} cannot be asked which words were left out ({type(error).__name__}); "
            "pre-train a BERT, RoBERTa, DistilBERT, XLM-R or ModernBERT"
        ) from None
    _take_over(made, body)
    return made.eval()


def share_back(spelling: PreTrainedModel, body: PreTrainedModel) -> None:
    """Put what the speller learnt into the network that answers; what only that one has stays as it is."""
    _take_over(body, spelling)


def _take_over(into: PreTrainedModel, of: PreTrainedModel) -> None:
    """Every tensor that both have, by name and shape."""
    own = into.state_dict()
    common = {
        name: tensor
        for name, tensor in of.state_dict().items()
        if name in own and own[name].shape == tensor.shape
    }
    if not any(name.startswith(f"{into.base_model_prefix}.") for name in common):
        raise UnfitEncoder(f"{type(into).__name__} and {type(of).__name__} share no body; use another family")
    into.load_state_dict(common, strict=False)


def pretrain(
    spelling: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    store: TokenStore,
    masks: Masks,
    *,
    config: BodyTraining,
    checkpoint_folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> TrainLog:
    """Train every weight of `spelling` in place on the store's windows.

    As resumable, and as repeatable, as train_body, and raises what that raises. On a GPU in bfloat16.
    """
    if not len(store.lengths):
        raise UnfitData("the store holds no window; more reports are needed")
    check_window(spelling, config.window_tokens)
    fingerprint = _fingerprint(spelling, tokenizer, store, masks, config, seed)

    def collate(rows: list[dict[str, Any]], epoch: int) -> dict[str, torch.Tensor]:
        ids = [np.asarray(row["input_ids"], np.int32) for row in rows]
        return masks.batch(ids, [int(row["window"]) for row in rows], epoch)

    return train_on(
        spelling,
        store.rows,
        store.lengths,
        collate,
        config=config,
        checkpoint_folder=checkpoint_folder,
        fingerprint=fingerprint,
        seed=seed,
        progress=progress,
        objective=Spelling(fingerprint),
    )


@dataclass(frozen=True)
class Spelling:
    """Cross-entropy (nats) of the words asked for, the mean over a batch's."""

    sha: str

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        said, truth = spelled(model, batch)
        return functional.cross_entropy(said, truth, reduction="sum") / max(1, len(truth))


def spelled(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens asked for, vocabulary) logits in float32, and (tokens asked for,) what they are.

    What comes after the body reads the tokens asked for and no others: of a small network the whole
    vocabulary for every token would be most of the work, and of a large one most of the memory.
    """
    asked = batch["labels"] != NOT_ASKED

    def narrowed(_body: nn.Module, _inputs: Any, found: Any) -> Any:
        found["last_hidden_state"] = found["last_hidden_state"][asked][None]
        return found

    hook = model.base_model.register_forward_hook(narrowed)
    try:
        found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    finally:
        hook.remove()
    return found.logits[0].float(), batch["labels"][asked]


def _fingerprint(
    spelling: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    store: TokenStore,
    masks: Masks,
    config: BodyTraining,
    seed: int,
) -> str:
    sha = hashlib.sha256(repr((store.stored, masks.seed, masks.whole_words, config, seed)).encode())
    sha.update(tokenizer.backend_tokenizer.to_str().encode())
    for name, tensor in sorted(spelling.state_dict().items()):
        sha.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


@dataclass(frozen=True)
class Spelled:
    """An exam on reports that taught nothing: mean cross-entropy (nats) over the words asked for."""

    loss: float
    asked: int  # tokens
    right: int  # of them, the network's first guess was the word

    @property
    def perplexity(self) -> float:
        """Among how many equally likely words the network is as unsure."""
        return math.exp(min(self.loss, 700.0))


def exam(
    spelling: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    masks: Masks,
    window_tokens: int,
) -> Spelled:
    """What the network makes of these texts, with masks that are the same at every call.

    Raises UnfitData where nothing can be asked.
    """
    windows = windows_of(tokenizer, texts, window_tokens, 0)
    loss, asked, right = 0.0, 0, 0
    with evaluating(spelling), torch.inference_mode():
        for drawn in token_budget_batches(windows.lengths, EXAM_LOGITS // len(tokenizer)):
            batch = masks.batch([windows.ids[index] for index in drawn], drawn.tolist(), None)
            said, truth = spelled(spelling, {name: one.to(spelling.device) for name, one in batch.items()})
            loss += float(functional.cross_entropy(said, truth, reduction="sum"))
            asked, right = asked + len(truth), right + int((said.argmax(dim=-1) == truth).sum())
    if not asked:
        raise UnfitData("no word can be asked of the held-out reports; more patients are needed")
    return Spelled(loss / asked, asked, right)
