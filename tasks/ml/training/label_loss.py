"""The loss of labels, and how it listens to rare ones: weights by label, and the focal loss.

Either bends the probabilities that the network itself gives. That does no harm here: the published head is
fitted afterwards on the network's vectors, unweighted, and calibrated (network/head.py), so that what is left
of the weights is how far apart the vectors of rare reports lie from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional
from transformers import PreTrainedModel

from tasks.ml.arrays import Ints
from tasks.ml.training.body_training import Loss
from tasks.ml.training.training_rows import Batch, share

# of the focal loss (Lin et al. 2017, "Focal loss for dense object detection"), the authors' choice
GAMMA: Final = 2.0


@dataclass(frozen=True)
class LabelLoss:
    """Mean over a step of -weight * (1 - p) ** gamma * log(p), p being what the true label is given."""

    weights: tuple[float, ...]  # one a label; 1 on average over the reports that teach
    gamma: float

    @property
    def sha(self) -> str:
        return repr(self)

    def loss(self, model: PreTrainedModel, batch: Batch, step: Sequence[Batch]) -> torch.Tensor:
        asked = {name: tensor for name, tensor in batch.items() if name != "labels"}
        labels = batch["labels"]
        found = functional.log_softmax(model(**asked).logits.float(), dim=-1)
        true = found.gather(1, labels[:, None]).squeeze(1)
        weights = torch.tensor(self.weights, device=true.device)[labels]
        if self.gamma:
            weights = weights * (1 - true.exp()) ** self.gamma
        return -(weights * true).mean() * share(batch, step)


def label_loss(loss: Loss, labels_idx: Ints, n_labels: int) -> LabelLoss:
    """How `loss` listens to labels as frequent as these; plain: cross-entropy."""
    weights = np.ones(n_labels)
    if loss == "balanced":
        there = np.unique(labels_idx)
        weights[there] = compute_class_weight("balanced", classes=there, y=labels_idx)
    return LabelLoss(tuple(weights.tolist()), GAMMA if loss == "focal" else 0.0)
