"""Pre-training on reports: words are left out (masks.py), and the network says which they were.

Continued on a hospital's own reports this is domain-adaptive pre-training (Gururangan et al. 2020, "Don't
stop pretraining").
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tasks.ml.errors import UnfitData, UnfitEncoder
from tasks.ml.network.encoder import EncoderSpec, check_window, where_of
from tasks.ml.network.features import Progress, evaluating
from tasks.ml.pretraining.masks import NOT_ASKED, Masks
from tasks.ml.quiet import quietly
from tasks.ml.reading.windows import token_budget_batches, windows_of
from tasks.ml.training.token_store import TokenStore
from tasks.ml.training.training import BodyTraining, Material, TrainLog, train_on
from tasks.ml.training.training_rows import Batch

EXAM_LOGITS = 50_000_000  # held at once, as if every token were asked for
# numbers of windows and the epoch -> input_ids, attention_mask, labels and what else the network is given
BatchOf = Callable[[Sequence[int], int | None], dict[str, torch.Tensor]]

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
        last_layers=None,
        head_steps=1.0,  # of a head that answers; there is none here
        layer_decay=1.0,
        # what a classifier's training asks of labels, and how long it may take
        loss="plain",
        patience=None,
        max_seconds=None,
    )


def speller(
    body: PreTrainedModel, spec: EncoderSpec, seed: int, *, next_sentence: bool = False
) -> PreTrainedModel:
    """A network of `body`'s family and weights that says which words were left out, in evaluation mode.

    Where the encoder's folder holds the head that was trained with it, that one; else one drawn by `seed`.
    next_sentence: with a head for that as well (next_sentence.py). Raises UnfitEncoder for a family that has
    none.
    """
    kind = AutoModelForPreTraining if next_sentence else AutoModelForMaskedLM
    try:
        with quietly(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if spec.kind == "scratch":
                made = kind.from_config(body.config)
            else:
                name, where = where_of(spec)
                made = kind.from_pretrained(
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
    batch_of: BatchOf | None = None,
    progress: Progress | None = None,
) -> TrainLog:
    """Train every weight of `spelling` in place on the store's windows.

    batch_of: what is asked of windows by their number, in an epoch (Pairs.batch); default: their masks.
    As resumable, and as repeatable, as train_body, and raises what that raises.
    """
    if not len(store.lengths):
        raise UnfitData("the store holds no window; more reports are needed")
    check_window(spelling, config.window_tokens)
    told = (masks.seed, masks.whole_words, batch_of is not None, config, seed)
    fingerprint = _fingerprint(spelling, tokenizer, store, told)

    def collate(rows: list[dict[str, Any]], epoch: int) -> dict[str, torch.Tensor]:
        windows = [int(row["window"]) for row in rows]
        if batch_of is not None:
            return batch_of(windows, epoch)
        return masks.batch([np.asarray(row["input_ids"], np.int32) for row in rows], windows, epoch)

    return train_on(
        spelling,
        Material(store.rows, store.lengths, collate, fingerprint, Spelling(fingerprint)),
        config=config,
        checkpoint_folder=checkpoint_folder,
        seed=seed,
        progress=progress,
    )


@dataclass(frozen=True)
class Spelling:
    """Cross-entropy (nats) of the words asked for, and of what follows where that is: means over a step."""

    sha: str

    def loss(self, model: PreTrainedModel, batch: Batch, step: Sequence[Batch]) -> torch.Tensor:
        def asked(what: str) -> int:
            return max(1, sum(int((one[what] != NOT_ASKED).sum()) for one in step))

        found = answered(model, batch)
        loss = functional.cross_entropy(found.said, found.truth, reduction="sum") / asked("labels")
        if found.follows is not None:
            wrong = functional.cross_entropy(found.follows, batch["follows"], reduction="sum")
            loss = loss + wrong / asked("follows")
        return loss


@dataclass(frozen=True, eq=False)
class Answered:
    """Of a batch: (tokens asked for, vocabulary) logits in float32, and (tokens asked for,) what they are.

    follows: (windows, 2) logits, where the network was asked for the next sentence.
    """

    said: torch.Tensor
    truth: torch.Tensor
    follows: torch.Tensor | None


def answered(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> Answered:
    """What the network says of a batch of Masks or Pairs.

    What comes after the body reads the tokens asked for and no others: of a small network the whole
    vocabulary for every token would be most of the work, and of a large one most of the memory.
    """
    asked = batch["labels"] != NOT_ASKED

    def narrowed(_body: nn.Module, _inputs: Any, found: Any) -> Any:
        found["last_hidden_state"] = found["last_hidden_state"][asked][None]
        return found

    hook = model.base_model.register_forward_hook(narrowed)
    try:
        found = model(**{name: tensor for name, tensor in batch.items() if name not in ("labels", "follows")})
    finally:
        hook.remove()
    if "follows" not in batch:
        # a network that could be asked for the next sentence has another name for it
        said, follows = found["logits" if "logits" in found else "prediction_logits"], None
    else:
        said, follows = found["prediction_logits"], found["seq_relationship_logits"].float()
    return Answered(said[0].float(), batch["labels"][asked], follows)


def _fingerprint(
    spelling: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, store: TokenStore, told: tuple[Any, ...]
) -> str:
    sha = hashlib.sha256(repr((store.stored, *told)).encode())
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
            found = answered(spelling, {name: one.to(spelling.device) for name, one in batch.items()})
            loss += float(functional.cross_entropy(found.said, found.truth, reduction="sum"))
            asked, right = asked + len(found.truth), right + int((found.said.argmax(-1) == found.truth).sum())
    if not asked:
        raise UnfitData("no word can be asked of the held-out reports; more patients are needed")
    return Spelled(loss / asked, asked, right)
