"""A smaller network that answers as a larger one does.

The recipe of DistilBERT (Sanh et al. 2019, "DistilBERT, a distilled version of BERT: smaller, faster,
cheaper and lighter"): the student is the teacher with every second layer left out, and learns from the
teacher's softened answers (Hinton et al. 2015, "Distilling the knowledge in a neural network"), from the
direction of its last hidden states, and from labels where there are any. Its masked words are labels here:
the teacher already answers a question.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.arrays import Ints
from tasks.ml.errors import UnfitEncoder
from tasks.ml.network.attentive import attention_of
from tasks.ml.network.encoder import encoder_sha
from tasks.ml.network.features import Progress, evaluating, last_linear
from tasks.ml.network.layers import layer_stack
from tasks.ml.network.narrowing import narrow_config, narrowed
from tasks.ml.quiet import quietly
from tasks.ml.reading.windows import padded, token_budget_batches, windows_of
from tasks.ml.training.training import BodyTraining, TrainLog, train_body
from tasks.ml.training.training_rows import Batch, share

NO_LABEL = -100  # what torch's cross-entropy leaves out
BATCH_TOKENS = 8192
STUDENT_RATE_MIN = 3e-4


@dataclass(frozen=True)
class Recipe:
    """What the student is taught by; temperature and weights are those of DistilBERT's own training."""

    layers: int | None = None  # None: half of the teacher's
    # of each layer's inner neurons: embeddings and pooler cost both the same, and half of the layers with all
    # of them would take more than half of the time
    inner_share: float = 2 / 3
    temperature: float = 2.0  # of both networks' answers while they are compared
    soft_weight: float = 5.0
    label_weight: float = 2.0
    hidden_weight: float = 1.0


def student_of(
    teacher: PreTrainedModel, layers: int | None = None, inner_share: float = 1.0
) -> PreTrainedModel:
    """A network of the teacher's family with so many of its layers (None: half), in evaluation mode.

    Evenly spread, the first one always among them: of 12 layers, 0, 2, 4, 6, 8 and 10. Of each layer's inner
    neurons that share which weighs most, where the family's are known (network/narrowing.py). Embeddings,
    pooler, attention over whole reports and head are the teacher's, too. Raises UnfitEncoder where the stack
    of layers cannot be found, or is too low to leave any out.
    """
    name, stack = layer_stack(teacher)
    chosen = _chosen(type(teacher).__name__, len(stack), layers)
    config = copy.deepcopy(teacher.config)
    below = getattr(config, "body", config)  # under attention: of the network below
    below.num_hidden_layers = len(chosen)
    inner = narrow_config(below, inner_share)
    if getattr(below, "layer_types", None) is not None:  # ModernBERT: which layers look at all tokens
        below.layer_types = [below.layer_types[index] for index in chosen]
    place = {f"{name}.{old}.": f"{name}.{new}." for new, old in enumerate(chosen)}
    weights = {}
    for key, tensor in teacher.state_dict().items():
        layer = next((old for old in place if key.startswith(old)), None)
        if layer is not None:
            weights[place[layer] + key.removeprefix(layer)] = tensor
        elif not key.startswith(f"{name}."):
            weights[key] = tensor
    try:
        with quietly(), torch.random.fork_rng(devices=[]):
            student = type(teacher)(config)
            if inner is not None:
                weights = narrowed(weights, student.state_dict(), name, inner)
            student.load_state_dict(weights)
    except (RuntimeError, ValueError) as error:
        raise UnfitEncoder(
            f"a {type(teacher).__name__} with {len(chosen)} of its {len(stack)} layers cannot be made "
            f"({type(error).__name__}): its layers are not alike; use an encoder of another family"
        ) from None
    return student.to(teacher.device).eval()


def _chosen(family: str, of: int, layers: int | None) -> list[int]:
    wanted = of // 2 if layers is None else layers
    if of < 2:
        raise UnfitEncoder(f"this {family} has {of} layer: there is none to leave out")
    if not 0 < wanted < of:
        raise UnfitEncoder(f"a student of this {family} has 1 to {of - 1} layers, not {wanted}")
    return [place * of // wanted for place in range(wanted)]


def students_training(reports: BodyTraining) -> BodyTraining:
    """How a student is taught, where a network that learns its question reads reports so.

    In larger steps than a pretrained network takes: one whose layers were left out has more to mend. Its head
    and attention are the teacher's and have none to catch up.
    """
    rate = max(STUDENT_RATE_MIN, reports.learning_rate)
    return replace(reports, learning_rate=rate, last_layers=None, layer_decay=1.0, head_steps=1.0)


def distil(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels_idx: Ints,
    *,
    recipe: Recipe,
    config: BodyTraining,
    checkpoint_folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> TrainLog:
    """Train every weight of the student in place on `texts`, NO_LABEL for those that bear none.

    Both read with one tokenizer, and with attention both are asked for whole reports. As resumable, and as
    repeatable, as train_body, and raises what that raises.
    """
    with evaluating(teacher):
        return train_body(
            student, tokenizer, texts, labels_idx,
            config=config, checkpoint_folder=checkpoint_folder, seed=seed, progress=progress,
            objective=Likeness(teacher, recipe, _sha_of(teacher, tokenizer, recipe, config)),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Likeness:
    """How far a student is from its teacher and, where they are known, from the labels."""

    teacher: PreTrainedModel
    recipe: Recipe
    sha: str

    def loss(self, model: PreTrainedModel, batch: Batch, step: Sequence[Batch]) -> torch.Tensor:
        labels, mask = batch["labels"], batch["attention_mask"]
        asked = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with torch.no_grad():
            shown = self.teacher.to(mask.device)(**asked, output_hidden_states=True)
        found = model(**asked, output_hidden_states=True)
        logits, states = found.logits.float(), found.hidden_states[-1].float()
        # means over a batch, each of another number of things
        soft = softened(logits, shown.logits.float(), self.recipe.temperature) * share(batch, step)
        hidden = turned(states, shown.hidden_states[-1].float(), mask) * share(batch, step, _tokens)
        labelled = mistaken(logits, labels) * share(batch, step, _labelled)
        return (
            self.recipe.soft_weight * soft
            + self.recipe.hidden_weight * hidden
            + self.recipe.label_weight * labelled
        )


def _tokens(batch: Batch) -> int:
    return int(batch["attention_mask"].sum())


def _labelled(batch: Batch) -> int:
    return int((batch["labels"] != NO_LABEL).sum())


def softened(ours: torch.Tensor, theirs: torch.Tensor, temperature: float) -> torch.Tensor:
    """Kullback-Leibler divergence of answers (windows or whole reports, labels), both at `temperature`.

    Times its square, so that the gradients keep their size whatever it is.
    """
    asked = functional.log_softmax(theirs / temperature, dim=-1)
    given = functional.log_softmax(ours / temperature, dim=-1)
    return functional.kl_div(given, asked, reduction="batchmean", log_target=True) * temperature**2


def turned(ours: torch.Tensor, theirs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """1 - cosine of (windows, tokens, hidden) states, the mean over all tokens but padding."""
    apart = 1 - functional.cosine_similarity(ours, theirs, dim=-1)
    return (apart * mask).sum() / mask.sum()


def mistaken(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, the mean over the windows (or reports) that bear a label; 0 where none does."""
    summed = functional.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="sum")
    return summed / (labels != NO_LABEL).sum().clamp(min=1)


def _sha_of(
    teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, config: BodyTraining
) -> str:
    """The whole teacher, its head as well, and the recipe."""
    body = encoder_sha(teacher, tokenizer, config.window_tokens, config.stride_tokens)
    sha = hashlib.sha256(repr((body, recipe)).encode())
    for tensor in last_linear(teacher)[1].state_dict().values():
        sha.update(tensor.detach().cpu().contiguous().numpy().data)
    return sha.hexdigest()


def flops_per_token(model: PreTrainedModel, window_tokens: int) -> float:
    """Floating-point operations that one token of a full window takes; a multiplication and its sum are two.

    2 for each weight of the layers' matrices; 4 x hidden x window a layer for attention (scores, and the
    mean they weight); what comes after the layers (pooler, head) once a window, shared by its tokens; for
    attention over whole reports 4 x hidden (its score, and the mean).
    Embeddings are looked up and cost none, norms and activations are left out. (Kaplan et al. 2020, "Scaling
    laws for neural language models", table 1.)
    """
    name, stack = layer_stack(model)
    inside: int = sum(weights.numel() for weights in stack.parameters() if weights.ndim == 2)
    over = attention_of(model)
    after: int = sum(
        module.weight.numel()
        for at, module in model.named_modules()
        if isinstance(module, nn.Linear) and not at.startswith(f"{name}.")
        if over is None or module is not over.score
    )
    hidden = int(model.config.hidden_size)
    a_token = 2 * inside + 4 * hidden * window_tokens * len(stack) + (0 if over is None else 4 * hidden)
    return a_token + 2 * after / window_tokens


def time_shares(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    window_tokens: int,
    stride_tokens: int,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds of the student over seconds of the teacher for the same windows, a share a round.

    Tokenising is the same work for both and is done before. They take turns, after a round that is not
    counted, and who goes first changes from round to round. `clock`: time.process_time where others use the
    machine.
    """
    windows = windows_of(tokenizer, texts, window_tokens, stride_tokens)
    batches = [
        padded([windows.ids[index] for index in batch], tokenizer.pad_token_id)
        for batch in token_budget_batches(windows.lengths, BATCH_TOKENS)
    ]

    def seconds(model: PreTrainedModel) -> float:
        began = clock()
        for ids, mask in batches:
            model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device))
        return clock() - began

    shares = []
    with evaluating(student), evaluating(teacher), torch.inference_mode():
        for number in range(1 + rounds):
            turns = (student, teacher) if number % 2 else (teacher, student)
            took = {id(model): seconds(model) for model in turns}
            shares.append(took[id(student)] / took[id(teacher)])
    return shares[1:]


@dataclass(frozen=True)
class Saved:
    """What a student costs as a share of its teacher: by counting, and by the clock on this machine."""

    flops_share: float
    time_share: float

    @classmethod
    def by(
        cls,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        *,
        window_tokens: int,
        stride_tokens: int,
    ) -> Saved:
        """Measured on these texts; what the student has learnt makes no difference."""
        counted = flops_per_token(student, window_tokens) / flops_per_token(teacher, window_tokens)
        timed = time_shares(
            student, teacher, tokenizer, texts, window_tokens=window_tokens, stride_tokens=stride_tokens
        )
        return cls(counted, median(timed))
