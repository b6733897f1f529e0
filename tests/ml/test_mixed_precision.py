"""A training in bfloat16: where a machine has it, and nothing of it stays in the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tasks.ml.network.bfloat16 import PROCESSORS
from tasks.ml.network.encoder import EncoderSpec
from tasks.ml.pretraining.masks import Masks
from tasks.ml.pretraining.pretraining import pretrain, speller
from tasks.ml.training.distillation import Recipe, distil, student_of
from tasks.ml.training.held_out import HeldOut
from tasks.ml.training.token_store import write_store
from tasks.ml.training.training import BodyTraining, TrainLog, precision, train_body
from tests.conftest import Capable
from tests.ml.conftest import STRIDE, WINDOW, Network, written

FULL = BodyTraining(WINDOW, STRIDE, epochs=2, learning_rate=2e-3, batch_windows=8, checkpoint_every_steps=3)
MIXED = replace(FULL, mixed_precision=True)

on_a_processor = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU would train")


def trained(network: Network, folder: Path, config: BodyTraining, stop_at: int | None = None) -> TrainLog:
    def stop(step: int, _steps: int) -> None:
        if step == stop_at:
            raise KeyboardInterrupt

    return train_body(
        *network, *written(32, 1), config=config, checkpoint_folder=folder, seed=1, progress=stop
    )


def same(one: Network, other: Network) -> bool:
    theirs = other[0].state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one[0].state_dict().items())


@on_a_processor
@pytest.mark.parametrize("has", PROCESSORS)
def test_bfloat16_is_computed_in_where_the_processor_has_it_and_it_is_wanted(
    has: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {has: True})
    assert [precision(mixed) for mixed in (True, False)] == ["bfloat16", "float32"]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    assert precision(True) == "float32"


@on_a_processor
def test_where_a_processor_has_none_it_is_not_asked_for(
    tiny: Callable[[], Network], tmp_path: Path, capable: Capable
) -> None:
    capable(False)
    wanted, never = tiny(), tiny()
    assert trained(wanted, tmp_path / "wanted", MIXED).precision == "float32"
    trained(never, tmp_path / "never", FULL)
    assert same(wanted, never)


@on_a_processor
def test_the_layers_compute_in_bfloat16_and_every_weight_stays_as_exact_as_it_was(
    network: Network, tmp_path: Path, capable: Capable
) -> None:
    capable(True)
    kinds: set[tuple[bool, torch.dtype]] = set()
    inner = [module for module in network[0].modules() if not list(module.children())]
    for module in inner:
        module.register_forward_hook(
            lambda it, _given, found: (
                kinds.add((it.training, found.dtype))
                if torch.is_tensor(found) and found.is_floating_point()
                else None
            )
        )
    texts, labels = written(16, 1)
    log = train_body(
        *network, texts, labels, config=MIXED, checkpoint_folder=tmp_path, seed=1,
        held_out=HeldOut(*written(8, 2)),
    )  # fmt: skip
    assert log.record["precision"] == "bfloat16"
    assert (True, torch.bfloat16) in kinds
    # what is looked up on the way, and answered afterwards, is computed as a published model answers
    assert (False, torch.bfloat16) not in kinds
    assert {tensor.dtype for tensor in network[0].state_dict().values() if tensor.is_floating_point()} == {
        torch.float32
    }
    for file in tmp_path.glob("checkpoint-*/model.safetensors"):
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float32}


@on_a_processor
def test_afterwards_a_network_answers_as_one_that_was_loaded(
    tiny: Callable[[], Network], tmp_path: Path, capable: Capable
) -> None:
    capable(True)
    network, loaded = tiny(), tiny()
    trained(network, tmp_path, MIXED)
    loaded[0].load_state_dict(network[0].state_dict())
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        assert torch.equal(network[0](input_ids=ids).logits, loaded[0](input_ids=ids).logits)


@on_a_processor
def test_a_training_in_bfloat16_goes_on_bit_for_bit(
    tiny: Callable[[], Network], tmp_path: Path, capable: Capable
) -> None:
    capable(True)
    whole, cut, full = tiny(), tiny(), tiny()
    log = trained(whole, tmp_path / "whole", MIXED)
    with pytest.raises(KeyboardInterrupt):
        trained(tiny(), tmp_path / "cut", MIXED, stop_at=5)
    resumed = trained(cut, tmp_path / "cut", MIXED)
    assert (resumed.resumed_from_step, resumed.losses) == (3, log.losses)
    assert same(whole, cut)
    trained(full, tmp_path / "full", FULL)
    assert not same(whole, full)  # the control: it was not computed in float32


@on_a_processor
@pytest.mark.parametrize("first", [True, False])
def test_a_checkpoint_of_one_precision_is_not_taken_up_in_the_other(
    first: bool, tiny: Callable[[], Network], tmp_path: Path, capable: Capable
) -> None:
    """As where a folder is carried to another machine, under the same settings."""
    capable(first)
    with pytest.raises(KeyboardInterrupt):
        trained(tiny(), tmp_path, MIXED, stop_at=5)
    capable(not first)
    assert trained(tiny(), tmp_path, MIXED).resumed_from_step == 0


@on_a_processor
def test_pre_training_and_a_student_are_taught_in_it_and_go_on(
    tiny: Callable[[], Network], tmp_path: Path, capable: Capable
) -> None:
    capable(True)
    body, tokenizer = tiny()
    texts, labels = written(24, seed=1)
    store = write_store(tmp_path / "tokens", [texts], tokenizer, WINDOW)

    def learn(how: str, folder: str, stop_at: int | None) -> tuple[TrainLog, Network]:
        def stop(step: int, _steps: int) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        more = {"checkpoint_folder": tmp_path / how / folder, "seed": 1, "progress": stop, "config": MIXED}
        if how == "words":
            made = speller(body, EncoderSpec(), seed=3)
            return pretrain(made, tokenizer, store, Masks(tokenizer, 1), **more), (made, tokenizer)
        made = student_of(body)
        return distil(body, made, tokenizer, texts, labels, recipe=Recipe(), **more), (made, tokenizer)

    for how in ("words", "student"):
        log, whole = learn(how, "whole", None)
        with pytest.raises(KeyboardInterrupt):
            learn(how, "cut", 4)
        resumed, cut = learn(how, "cut", None)
        assert (resumed.precision, resumed.resumed_from_step) == ("bfloat16", 3)
        assert resumed.losses == log.losses
        assert same(whole, cut)
        assert log.losses[-1][1] < log.losses[0][1]
