"""A step in several passes is the step in one, and memory is that of a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from tasks.ml.network.attentive import attentive
from tasks.ml.network.encoder import EncoderSpec
from tasks.ml.pretraining.masks import Masks
from tasks.ml.pretraining.next_sentence import pairs_in
from tasks.ml.pretraining.pretraining import pretrain, speller
from tasks.ml.training.distillation import NO_LABEL, Recipe, distil, student_of
from tasks.ml.training.token_store import write_store
from tasks.ml.training.training import BodyTraining, TrainLog, train_body
from tasks.ml.training.training_rows import in_passes
from tests.ml.conftest import STRIDE, WINDOW, Network, written

ONE = BodyTraining(WINDOW, STRIDE, epochs=1, learning_rate=1e-3, batch_windows=16)
SEVERAL = replace(ONE, batch_tokens=120)

# learns by the settings, in a folder of its own
Learn = Callable[[BodyTraining, Path], TrainLog]


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Of the first step of a training, once a training."""
    found: list[torch.Tensor] = []
    step = torch.optim.AdamW.step

    def listen(self: torch.optim.Optimizer, *given: Any, **more: Any) -> Any:
        if not self.state:
            weights = [one for group in self.param_groups for one in group["params"] if one.grad is not None]
            found.append(torch.cat([one.grad.flatten() for one in weights]))
        return step(self, *given, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", listen)
    return found


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def lengths_of(batch: list[list[dict[str, Any]]]) -> list[list[int]]:
    return [[len(row["input_ids"]) for row in rows] for rows in batch]


def test_a_pass_holds_as_many_rows_as_its_tokens_allow_and_none_is_lost_or_moved() -> None:
    rows = [{"input_ids": np.zeros(length, np.int32)} for length in (3, 4, 4, 9, 30, 2, 2)]
    assert lengths_of(in_passes(rows, 12)) == [[3, 4, 4], [9], [30], [2, 2]]
    assert in_passes(rows, 10_000) == [rows]
    assert lengths_of(in_passes(rows, 1)) == [[3], [4], [4], [9], [30], [2], [2]]


def test_of_whole_reports_every_window_is_counted() -> None:
    rows = [{"input_ids": [np.zeros(length) for length in windows]} for windows in ([5, 5, 5], [4], [2, 2])]
    assert [len(part) for part in in_passes(rows, 20)] == [2, 1]
    assert [len(part) for part in in_passes(rows, 14)] == [1, 2]


def learner(how: str, tiny: Callable[[], Network], folder: Path) -> tuple[Learn, list[int]]:
    """What learns so, and the tokens of its passes, of every training in turn."""
    texts, labels = written(16, 1, words=(4, 60))
    passes: list[int] = []

    def network() -> Network:
        model, tokenizer = tiny()
        return without_dropout(attentive(model, seed=1) if how == "attention" else model), tokenizer

    def listened(model: PreTrainedModel) -> PreTrainedModel:
        model.register_forward_pre_hook(
            lambda _it, _given, named: passes.append(named["input_ids"].numel()), with_kwargs=True
        )
        return model

    def learn(config: BodyTraining, where: Path) -> TrainLog:
        model, tokenizer = network()
        more: dict[str, Any] = {"config": config, "checkpoint_folder": where, "seed": 1}
        if how.startswith("words"):
            store = write_store(where / "tokens", [texts], tokenizer, WINDOW)
            follows = how == "words, next sentence"
            made = listened(without_dropout(speller(model, EncoderSpec(), seed=3, next_sentence=follows)))
            masks = Masks(tokenizer, 1)
            batch_of = pairs_in(store, tokenizer, masks, WINDOW).batch if follows else None
            return pretrain(made, tokenizer, store, masks, batch_of=batch_of, **more)
        if how == "student":
            some = np.where(np.arange(16) % 3 == 0, NO_LABEL, labels)
            student = listened(without_dropout(student_of(model)))
            return distil(model, student, tokenizer, texts, some, recipe=Recipe(), **more)
        return train_body(listened(model), tokenizer, texts, labels, **more)

    return learn, passes


@pytest.mark.parametrize(
    "how", ["plain", "balanced", "focal", "attention", "words", "words, next sentence", "student"]
)
def test_the_gradient_of_a_step_is_that_of_its_whole_batch_however_many_passes_it_takes(
    how: str, tiny: Callable[[], Network], tmp_path: Path, gradients: list[torch.Tensor]
) -> None:
    learn, passes = learner(how, tiny, tmp_path)
    loss = {"loss": how} if how in ("balanced", "focal") else {}
    one = learn(replace(ONE, **loss), tmp_path / "one")
    whole = list(passes)
    passes.clear()
    several = learn(replace(SEVERAL, **loss), tmp_path / "several")
    assert len(whole) == one.steps == several.steps
    assert len(passes) > 2 * len(whole)
    assert max(whole) > 2 * max(passes)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-3)
    assert several.losses[0][1] == pytest.approx(one.losses[0][1], rel=1e-5)
    # the control: a step in as many batches is another
    learn(replace(ONE, batch_windows=4, **loss), tmp_path / "four")
    assert not torch.allclose(gradients[2], gradients[0], atol=1e-3)


def test_a_pass_is_as_large_as_was_allowed_at_most(tiny: Callable[[], Network], tmp_path: Path) -> None:
    learn, passes = learner("plain", tiny, tmp_path)
    learn(SEVERAL, tmp_path / "several")
    assert max(passes) <= SEVERAL.batch_tokens
