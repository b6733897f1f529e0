"""Losses for rare labels: what they weigh, that one is caught, and that probabilities stay honest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tasks.ml.network.features import encode
from tasks.ml.network.head import fit_head, head_of, probabilities, softmax_of
from tasks.ml.training.body_training import BodyTraining, Loss
from tasks.ml.training.held_out import drawn
from tasks.ml.training.label_loss import label_loss
from tasks.ml.training.training import train_body
from tests.ml.conftest import SHARED, STRIDE, TELLING, WINDOW, Network

CONFIG = BodyTraining(WINDOW, STRIDE, epochs=2, learning_rate=2e-3, batch_windows=8)
RARE = 20  # one report in so many


class Fixed(torch.nn.Module):
    """A network whose logits are given."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, **_: torch.Tensor) -> Fixed:
        return self


def test_rare_labels_weigh_more_and_all_together_as_much_as_before() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [3])
    balanced = label_loss("balanced", labels, 4)
    assert balanced.weights == pytest.approx([10 / 18, 10 / 9, 1.0, 10 / 3])
    assert np.array(balanced.weights)[labels].mean() == pytest.approx(1.0)
    assert label_loss("plain", labels, 4).weights == (1.0,) * 4


@pytest.mark.parametrize("loss", ["plain", "balanced", "focal"])
def test_the_loss_is_the_one_that_was_published(loss: Loss) -> None:
    labels = np.array([0, 0, 0, 1])
    logits = np.random.default_rng(1).normal(size=(4, 2))
    given = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = given[np.arange(4), labels]
    by_hand = {
        "plain": -np.log(true).mean(),
        "balanced": -(np.array([2 / 3, 2 / 3, 2 / 3, 2]) * np.log(true)).mean(),
        "focal": -((1 - true) ** 2 * np.log(true)).mean(),
    }[loss]
    asked = label_loss(loss, labels, 2)
    batch = {"labels": torch.tensor(labels), "input_ids": torch.zeros(4, 1)}
    found = asked.loss(Fixed(torch.tensor(logits)), batch, [batch])  # type: ignore[arg-type]
    assert float(found) == pytest.approx(by_hand, rel=1e-5)


def planted(n: int, seed: int) -> tuple[list[str], NDArray[np.int64]]:
    """One report in twenty is malignant, and a few of its words lean that way."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % RARE == 0).astype(np.int64)
    common = SHARED + TELLING[0] + TELLING[1]
    texts = []
    for label in labels:
        words = rng.choice(common, 16)
        own = rng.choice(TELLING[int(label)], 16)
        texts.append(" ".join(np.where(rng.random(16) < 0.4, own, words)) + ".")
    return texts, labels


def test_a_rare_label_is_caught_more_often_and_the_published_probabilities_stay_honest(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    taught, labels = planted(240, seed=1)
    asked, truth = planted(240, seed=2)
    calibration, said = planted(240, seed=3)
    caught, told, honest = {}, {}, {}
    for loss in ("plain", "balanced"):
        network = tiny()
        config = replace(CONFIG, loss=loss)
        train_body(*network, taught, labels, config=config, checkpoint_folder=tmp_path / loss, seed=1)
        parts = [
            encode(*network, part, window_tokens=WINDOW, stride_tokens=STRIDE).vectors
            for part in (taught, asked, calibration)
        ]
        own = softmax_of(*head_of(network[0]), parts[1])
        caught[loss] = float((own.argmax(axis=1) == 1)[truth == 1].mean())
        told[loss] = float(own[:, 1].mean())
        head = fit_head(parts[0], labels, 2, parts[2], said)
        honest[loss] = float(probabilities(head, parts[1])[:, 1].mean())
    assert caught["balanced"] > caught["plain"] + 0.3
    # the network's own probabilities are bent by the weights; those of the published head are not
    assert told["balanced"] > 2 * told["plain"]
    assert honest["balanced"] == pytest.approx(1 / RARE, abs=0.025)


def test_a_tenth_of_the_patients_is_held_out_with_all_their_reports_and_no_label_loses_its_last() -> None:
    patients = [f"p{report // 2}" for report in range(4000)]
    labels = np.arange(4000) % 2
    chosen = drawn(labels, patients)
    assert 0.08 < chosen.mean() < 0.12
    assert chosen.reshape(-1, 2).all(axis=1).sum() * 2 == chosen.sum()
    held = patients[int(np.flatnonzero(chosen)[0])]
    labels = np.where(np.array(patients) == held, 2, labels)
    assert not drawn(labels, patients)[np.array(patients) == held].any()
    assert drawn(labels, patients).sum() == chosen.sum() - 2
