"""Where an encoder comes from: made here, a local folder, or a hub name at a pinned revision."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tasks.ml.errors import UnfitEncoder
from tasks.ml.network.attentive import attention_of, attentive
from tasks.ml.network.features import last_linear
from tasks.ml.network.linear_reader import LinearReader
from tasks.ml.pickles import refuse_pickles
from tasks.ml.quiet import quietly
from tasks.ml.reading.long_reports import AS_EVER, LongReports
from tasks.ml.reading.sentences import ends_of
from tasks.ml.reading.vocabulary import word_piece_tokenizer

NOT_COMPUTING = {  # what a configuration holds without changing a single vector
    "_name_or_path", "architectures", "dtype", "torch_dtype", "id2label", "label2id", "num_labels",
    "problem_type", "transformers_version", "pad_token_id",
}  # fmt: skip


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder, and for one made here its size."""

    kind: Literal["scratch", "folder", "hub"] = "scratch"
    name: str | None = None  # a folder's path or a hub name
    revision: str | None = None  # 40 hex digits, for a hub name
    window_tokens: int = 512  # scratch: positions it can tell apart
    hidden_size: int = 128
    layers: int = 2
    attention_heads: int = 2
    vocabulary: int = 1500  # of 4000, words that another institution makes of known stems were read worse
    attention: bool = False  # the head reads all tokens of a report, by their weight (see attentive.py)
    sentences: bool = False  # scratch, with attention: a token sees its own sentence (reading/sentences.py)


def make_scratch(
    texts: Iterable[str],
    labels: Sequence[str],
    spec: EncoderSpec,
    seed: int,
    *,
    patients: Iterable[str] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A small BERT with its own WordPiece vocabulary, learnt from `texts`: give the training split only.

    `patients`: one key a text, so that no word of a single patient's reports enters the vocabulary
    (see reading/vocabulary.py). The same input and seed give the same weights and vocabulary.
    """
    if spec.hidden_size % spec.attention_heads:
        raise UnfitEncoder(
            f"hidden_size {spec.hidden_size} is no multiple of attention_heads {spec.attention_heads}"
        )
    if spec.sentences and not spec.attention:
        raise UnfitEncoder("sentences that are read by themselves need attention to bring them together")
    tokenizer = word_piece_tokenizer(
        texts, patients, spec.vocabulary, spec.window_tokens, sentences=spec.sentences
    )
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.attention_heads,
        intermediate_size=4 * spec.hidden_size,
        max_position_embeddings=spec.window_tokens,
        pad_token_id=tokenizer.pad_token_id,
        **_label_names(labels),
    )
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
    if not spec.attention:
        return model.eval(), tokenizer
    ends = ends_of(tokenizer)
    # what begins a window is no part of its first sentence
    return attentive(model, seed, [*ends, tokenizer.cls_token_id] if ends else ()), tokenizer


def untrained_like(
    network: tuple[PreTrainedModel, PreTrainedTokenizerBase], seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The same network with the weights that `make_scratch` draws by this seed, and the same tokenizer."""
    model, tokenizer = network
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = type(model)(model.config)
    return drawn.eval(), tokenizer


def load_encoder(
    spec: EncoderSpec, labels: Sequence[str], *, seed: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pretrained network with a fresh head of `labels`; float32, safetensors only, never remote code.

    Raises UnfitEncoder for a hub name without its revision, a folder that is absent or holds
    pickles, whatever transformers cannot load as a sequence classifier, and what `load_classifier` refuses.
    """
    return load_frozen(spec, labels, seed=seed)[0]


def load_frozen(
    spec: EncoderSpec, labels: Sequence[str], *, seed: int = 0
) -> tuple[tuple[PreTrainedModel, PreTrainedTokenizerBase], tuple[str, ...]]:
    """`load_encoder` for a head that is trained alone, with a note where it reads what nobody taught.

    A BERT that was exported from its pre-training comes without pooler, and other families have such a
    layer in their classifiers only: it is drawn by `seed`, and a frozen one stays as it was drawn.
    """
    name, where = where_of(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the fresh head is drawn here
        model, tokenizer, drawn = _loaded(name, **where, **_label_names(labels), ignore_mismatched_sizes=True)
    if attention_of(model) is not None and not spec.attention:
        raise UnfitEncoder(f'{name} reads whole reports with attention; set pooling = "attention"')
    if spec.attention:
        return (attentive(model, seed), tokenizer), ()
    layers = sorted({weight.rpartition(".")[0] for weight in drawn} - {last_linear(model)[0]})
    if not layers:
        return (model, tokenizer), ()
    return (model, tokenizer), (
        f"the head reads the encoder through a layer that it came without ({', '.join(layers)}): it stays as "
        'it was drawn at random; pooling = "attention" reads without it, "--how full" trains it',
    )


def where_of(spec: EncoderSpec) -> tuple[str, dict[str, Any]]:
    """Name and options for transformers to load a pretrained network by. Raises UnfitEncoder."""
    if spec.name is None:
        raise UnfitEncoder("an encoder needs a name: a folder or a hub name")
    if spec.kind == "hub":
        if not re.fullmatch(r"[0-9a-f]{40}", spec.revision or ""):
            raise UnfitEncoder(f"{spec.name}: give the revision with all its 40 hex digits")
        return spec.name, {"revision": spec.revision}
    refuse_pickles(Path(spec.name))
    return spec.name, {"local_files_only": True}


def load_classifier(name: str, **options: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Network (in evaluation mode, float32) and tokenizer; raises UnfitEncoder with what to do.

    Refused are weights that do not fit the configuration, too: transformers draws those at random.
    """
    model, tokenizer, _ = _loaded(name, **options)
    return model, tokenizer


def _loaded(name: str, **options: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, set[str]]:
    """What `load_classifier` gives, and the names of the weights above the body that were drawn."""
    where = {key: options[key] for key in ("revision", "local_files_only") if key in options}
    try:
        with quietly():
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **where)
            model, told = AutoModelForSequenceClassification.from_pretrained(
                name,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
            embeddings = len(model.get_input_embeddings().weight)
    except Exception as error:  # transformers raises whatever its dozens of parts raise
        raise UnfitEncoder(
            f"{name} cannot be loaded as a sequence classifier ({type(error).__name__}); it needs "
            "config.json, tokenizer.json and model.safetensors of a family transformers knows "
            "(no remote code), and a hub name needs the network or a filled cache"
        ) from None
    drawn = {*told["missing_keys"], *(weight for weight, *_ in told["mismatched_keys"])}
    body = [weight for weight, _ in model.named_parameters() if _of_body(model, weight)]
    if unfit := [weight for weight in body if weight in drawn]:
        raise UnfitEncoder(
            f"{name}: {len(unfit)} of the {len(body)} weights that config.json asks for are not in its "
            f"safetensors, or of another shape ({', '.join(unfit[:3])}): they would be drawn at random. Take "
            "config.json and weights that were saved together, by save_pretrained of transformers"
        )
    # a sum is no number where any of them is none, and costs a tenth of asking each
    damaged = [weight for weight, tensor in model.named_parameters() if not torch.isfinite(tensor.sum())]
    if damaged:
        raise UnfitEncoder(
            f"{name}: {len(damaged)} of its weights hold what is no number ({', '.join(damaged[:3])}): the "
            "file is damaged, or its training diverged; take one that was saved sound"
        )
    last = max(tokenizer.get_vocab().values())
    if last >= embeddings:
        raise UnfitEncoder(
            f"{name}: its tokenizer gives ids up to {last}, and the network has embeddings for {embeddings} "
            "tokens; take the tokenizer that was saved with these weights"
        )
    able_to_pad(model, tokenizer)
    return model.eval(), tokenizer, drawn


def _of_body(model: PreTrainedModel, weight: str) -> bool:
    """False for a head, and for a pooler: encoders are published with one and without."""
    return weight.startswith(f"{model.base_model_prefix}.") and ".pooler." not in weight


def check_window(model: PreTrainedModel, window_tokens: int) -> None:
    """Raise UnfitEncoder where a window is longer than the network has positions."""
    most = positions(model)
    if most is not None and window_tokens > most:
        raise UnfitEncoder(f"this encoder reads {most} tokens at most; set window_tokens to {most} or less")


def positions(model: PreTrainedModel) -> int | None:
    """How many tokens the network can tell apart; None where it has no table of positions."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and re.search(r"(position_embeddings|\bwpe)$", name):
            # RoBERTa's table starts after the padding index
            used = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - used
    config = getattr(model.config, "body", model.config)  # under attention: of the network below
    most = getattr(config, "max_position_embeddings", None)
    return None if most is None else int(most)


def encoder_sha(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    window_tokens: int,
    stride_tokens: int,
    long_reports: LongReports = AS_EVER,
    beside: LinearReader | None = None,
) -> str:
    """sha256 over everything a stored vector depends on, and nothing else: the head is left out."""
    head, _ = last_linear(model)
    sha = hashlib.sha256()
    sha.update(_canonical([_computing(model.config.to_dict()), window_tokens, stride_tokens]))
    if long_reports != AS_EVER:  # vectors that were stored before there was a choice keep their name
        sha.update(_canonical(long_reports.as_json()))
    if beside is not None:
        sha.update(beside.sha.encode())
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # padding and truncation are whatever the last call left behind
    sha.update(_canonical({key: backend[key] for key in backend.keys() - {"padding", "truncation"}}))
    for name, tensor in sorted(model.state_dict().items()):
        if name not in (f"{head}.weight", f"{head}.bias"):
            sha.update(_canonical([name, str(tensor.dtype), list(tensor.shape)]))
            sha.update(tensor.detach().cpu().contiguous().numpy().data)
    return sha.hexdigest()


def _computing(config: dict[str, Any]) -> dict[str, Any]:
    """Without what computes nothing, at any depth: attention holds the configuration of its body."""
    return {
        key: _computing(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in NOT_COMPUTING
    }


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, default=str).encode()


def _label_names(labels: Sequence[str]) -> dict[str, Any]:
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }


def able_to_pad(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """A decoder has no padding token: give it its end-of-text, and tell the network."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise UnfitEncoder("the tokenizer has neither a padding nor an end-of-text token to pad with")
    tokenizer.padding_side = "right"
    model.config.pad_token_id = tokenizer.pad_token_id
