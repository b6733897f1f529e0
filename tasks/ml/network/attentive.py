"""A classifier that looks for what matters in a whole report: attention over the tokens of all its windows.

A BERT's own head reads the first token of a window, and a report of several windows is their plain mean:
what decides stands in one of them, and the others dilute it. Here every token of the report gets a weight,
the softmax of what one learnt linear layer says of its last hidden state, and the head reads the weighted
mean (attention-based multiple-instance pooling: Ilse, Tomczak & Welling 2018, "Attention-based deep multiple
instance learning", with a single linear score). Before it has learnt, that is the plain mean of all tokens.

A network from scratch may read each sentence by itself below that (reading/sentences.py): then attention is
all that brings the sentences of a report together.

A window's part of the mean and its weight are computed apart, so that windows need not be in memory
together: sum(weight * part) / sum(weight) over the windows is the softmax over all tokens.

No other program knows this family: transformers alone refuses the folder (model type laudos-attentive)
instead of reading it with a head that was never trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from tasks.ml.quiet import quietly
from tasks.ml.reading.sentences import apart

SCORE_LIMIT = 10.0  # no token weighs more than exp(20) times another: sums of weights stay finite


class AttentiveConfig(PreTrainedConfig):  # type: ignore[misc]
    """Labels, and under `body` the configuration of the network below the attention.

    `sentence_ends`: ids of the tokens behind which another sentence begins, where each is read by itself.
    """

    model_type = "laudos-attentive"

    def __init__(
        self, body: dict[str, Any] | None = None, sentence_ends: Sequence[int] = (), **rest: Any
    ) -> None:
        if sentence_ends:  # a network that was made before there were any is known by what it holds
            self.sentence_ends = list(sentence_ends)
        told = dict(body or {"model_type": "bert"})
        self.body = AutoConfig.for_model(told.pop("model_type"), **told)
        self.hidden_size = self.body.hidden_size
        super().__init__(**rest)


class Attention(nn.Module):  # type: ignore[misc]
    """The weighted mean of a window's tokens, and the window's weight among those of its report."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(windows, tokens, hidden) and (windows, tokens) -> (windows, hidden) and (windows,), float32."""
        states = states.float()
        scores = functional.linear(states, self.score.weight.float(), self.score.bias.float()).squeeze(-1)
        scores = scores.float()  # autocast gives bfloat16, in which the sum of the weights would be rounded
        weights = torch.exp(SCORE_LIMIT * torch.tanh(scores / SCORE_LIMIT)) * mask
        weight = weights.sum(dim=1)
        return (weights.unsqueeze(-1) * states).sum(dim=1) / weight.unsqueeze(-1), weight


class AttentiveForSequenceClassification(PreTrainedModel):  # type: ignore[misc]
    """`body` (any encoder or decoder of transformers), attention over its tokens, and a linear head."""

    config_class = AttentiveConfig
    base_model_prefix = "body"
    _supports_sdpa = True

    def __init__(self, config: AttentiveConfig) -> None:
        super().__init__(config)
        self.body = AutoModel.from_config(config.body)
        if hasattr(self.body, "pooler"):
            self.body.pooler = None  # reads the first token; nothing would train it
        self.attention = Attention(config.hidden_size)
        self.sentence_ends: Sequence[int] = getattr(config, "sentence_ends", ())
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor | None = None,
        owner: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Logits of each window, or with `owner` (windows,), the number of its report, of each report.

        `output_hidden_states`: also the last hidden states of every window (windows, tokens, hidden), alone.
        """
        given = {"attention_mask": attention_mask}
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        if self.sentence_ends:
            given["attention_mask"], given["position_ids"] = apart(
                input_ids, attention_mask, self.sentence_ends
            )
        states = self.body(input_ids=input_ids, **given).last_hidden_state
        read, weight = self.attention(states, attention_mask)
        if owner is not None:
            reports = int(owner.max()) + 1
            total = torch.zeros(reports, device=read.device).index_add(0, owner, weight)
            read = torch.zeros(reports, read.shape[1], device=read.device).index_add(
                0, owner, read * (weight / total[owner]).unsqueeze(-1)
            )
        logits = self.classifier(self.dropout(read).to(self.classifier.weight.dtype))
        loss = None if labels is None else functional.cross_entropy(logits.float(), labels)
        shown = (states,) if output_hidden_states else None
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=shown)


AutoConfig.register(AttentiveConfig.model_type, AttentiveConfig)
AutoModelForSequenceClassification.register(AttentiveConfig, AttentiveForSequenceClassification)


def attentive(
    model: PreTrainedModel, seed: int, sentence_ends: Sequence[int] = ()
) -> AttentiveForSequenceClassification:
    """The body of a sequence classifier under attention and a fresh head, in evaluation mode.

    The scores begin at zero, so that every token weighs alike; the head is drawn by `seed`. `sentence_ends`:
    as in AttentiveConfig; for a BERT, whose mask and places of tokens may be given.
    """
    if isinstance(model, AttentiveForSequenceClassification):
        return model
    config = AttentiveConfig(
        body=model.base_model.config.to_dict(),
        sentence_ends=sentence_ends,
        id2label=model.config.id2label,
        label2id=model.config.label2id,
        problem_type=model.config.problem_type,
        pad_token_id=model.config.pad_token_id,
    )
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = AttentiveForSequenceClassification(config)
    kept = made.body.state_dict()
    given = {name: tensor for name, tensor in model.base_model.state_dict().items() if name in kept}
    made.body.load_state_dict(given)
    with torch.no_grad():
        made.attention.score.weight.zero_()
        made.attention.score.bias.zero_()
    made.eval()
    return made


def attention_of(model: nn.Module) -> Attention | None:
    """The attention that weighs a report's windows; None for a network whose windows weigh alike."""
    return model.attention if isinstance(model, AttentiveForSequenceClassification) else None
