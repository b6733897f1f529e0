"""Reports that teach nothing while a network is trained: on them it is seen when it is at its best.

They are of training patients. The calibration split would do as well, were it not for what is promised of it:
a network that was chosen because it answers these reports well is surer of them than of others, and limits
that are fitted on them (network/conformal.py) would promise too much.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.arrays import Bools, Ints
from tasks.ml.errors import UnfitData
from tasks.ml.network.calibration import calibrated_log_loss
from tasks.ml.network.features import encode
from tasks.ml.network.head import head_of
from tasks.ml.reading.long_reports import AS_EVER, LongReports
from tasks.ml.splits import unit_interval
from tasks.ml.training.body_training import BodyTraining

SHARE: Final = 0.1
# another salt holds other patients out: a network that is trained again would be another one
_SALT: Final = "laudos-held-out-1"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Whole reports and their labels, and how the longer ones are read."""

    texts: Sequence[str]
    labels_idx: Ints
    long_reports: LongReports = AS_EVER

    @property
    def sha(self) -> str:
        sha = hashlib.sha256(repr(self.long_reports).encode() + self.labels_idx.astype("<i8").tobytes())
        for text in self.texts:
            sha.update(hashlib.sha256(text.encode()).digest())
        return sha.hexdigest()

    def judge(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: BodyTraining
    ) -> Callable[[], float]:
        """What says how good the network is by now: less is better.

        The log loss of whole reports, read as a published model reads them, at the temperature that suits it
        best: a network that grows too sure of itself is no worse for it, because it will be calibrated.
        Raises UnfitData without reports.
        """
        if not len(self.texts):
            raise UnfitData("no report is held out of the training; more patients are needed")

        def loss() -> float:
            read = encode(
                model,
                tokenizer,
                self.texts,
                window_tokens=config.window_tokens,
                stride_tokens=config.stride_tokens,
                long_reports=self.long_reports,
            )
            weight, bias = head_of(model)
            return calibrated_log_loss(read.vectors @ weight.T + bias, self.labels_idx)

        return loss


def drawn(labels_idx: Ints, patients: Sequence[str]) -> Bools:
    """(reports,) which to hold out: those of a tenth of all patients, the same ones every time.

    A patient whose reports are all that a label has left goes on teaching it.
    """
    chosen = np.array([unit_interval(patient, _SALT) < SHARE for patient in patients], bool)
    for label in np.unique(labels_idx):
        its = labels_idx == label
        if chosen[its].all():
            needed = {patients[at] for at in np.flatnonzero(its).tolist()}
            chosen &= [patient not in needed for patient in patients]
    return chosen
