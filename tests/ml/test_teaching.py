"""Another question first: the body learns it, and the network's own head is as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tasks.ml.errors import TrainingDiverged
from tasks.ml.network.features import encode, last_linear
from tasks.ml.training.teaching import teach
from tasks.ml.training.training import BodyTraining
from tests.ml.conftest import STRIDE, WINDOW, Network

CONFIG = BodyTraining(WINDOW, STRIDE, epochs=6, learning_rate=2e-3, batch_windows=8)
FINDINGS = ("células coesas", "células pleomórficas", "fundo com necrose", "nódulo na mama")


def clauses(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    answers = rng.integers(len(FINDINGS), size=n)
    return [f"{rng.choice(['lâmina', 'punção'])} {FINDINGS[answer]}" for answer in answers], answers


def test_the_body_learns_and_the_head_is_put_back(network: Network, tmp_path: Path) -> None:
    model, tokenizer = network
    name, head = last_linear(model)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    labels = dict(model.config.id2label)
    texts, answers = clauses(40, seed=1)
    teach(
        model, tokenizer, texts, answers, len(FINDINGS),
        config=CONFIG, checkpoint_folder=tmp_path, seed=1,
    )  # fmt: skip
    after = model.state_dict()
    assert last_linear(model) == (name, head)
    assert (model.config.id2label, model.num_labels) == (labels, len(labels))
    assert before.keys() == after.keys()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved
    assert not {key for key in moved if key.startswith(name)}


def test_what_was_taught_can_be_read_off_the_vectors(tiny: Callable[[], Network], tmp_path: Path) -> None:
    model, tokenizer = tiny()
    texts, answers = clauses(160, seed=1)
    log = teach(
        model, tokenizer, texts, answers, len(FINDINGS),
        config=replace(CONFIG, epochs=14), checkpoint_folder=tmp_path, seed=1,
    )  # fmt: skip
    assert log.losses[-1][1] < log.losses[0][1]
    seen, (asked, truth) = (
        encode(model, tokenizer, texts, window_tokens=WINDOW, stride_tokens=STRIDE),
        clauses(60, 2),
    )
    vectors = encode(model, tokenizer, asked, window_tokens=WINDOW, stride_tokens=STRIDE).vectors
    assert LogisticRegression().fit(seen.vectors, answers).score(vectors, truth) > 0.95


def test_lessons_that_were_finished_before_a_kill_are_taken_up_as_they_ended(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    texts, answers = clauses(60, seed=1)
    first, second = tiny(), tiny()
    for network in (first, second):
        log = teach(*network, texts, answers, 4, config=CONFIG, checkpoint_folder=tmp_path, seed=1)
    assert log.resumed_from_step == log.steps
    for one, other in zip(first[0].state_dict().values(), second[0].state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_head_is_put_back_where_lessons_fail(tiny: Callable[[], Network], tmp_path: Path) -> None:
    model, tokenizer = tiny()
    head = last_linear(model)
    texts, answers = clauses(40, seed=1)
    config = BodyTraining(WINDOW, STRIDE, learning_rate=1e30, batch_windows=8, warmup_share=0)
    with pytest.raises(TrainingDiverged):
        teach(model, tokenizer, texts, answers, 4, config=config, checkpoint_folder=tmp_path, seed=1)
    assert last_linear(model) == head
