"""Training the whole network: it learns, it is taken up, it stops when it diverges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from transformers import BertForSequenceClassification

from tasks.ml.errors import TrainingDiverged, UnfitData, UnfitEncoder
from tasks.ml.network.attentive import attentive
from tasks.ml.network.encoder import encoder_sha, load_classifier
from tasks.ml.network.features import encode
from tasks.ml.network.head import fit_head, probabilities
from tasks.ml.network.layers import layer_stack
from tasks.ml.training.checkpoints import COMPLETE
from tasks.ml.training.training import BodyTraining, TrainLog, passes_over, train_body
from tasks.ml.training.training_rows import LengthGrouped
from tests.ml.conftest import STRIDE, WINDOW, Network, save, written

CONFIG = BodyTraining(WINDOW, STRIDE, epochs=3, learning_rate=2e-3, batch_windows=8, checkpoint_every_steps=4)


def state_of(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network[0].state_dict().items()}


def test_a_trained_body_tells_unseen_reports_apart(tiny: Callable[[], Network], tmp_path: Path):
    model, tokenizer = tiny()
    (texts, labels), (calibration, truth), (unseen, answer) = (
        written(n, s) for n, s in ((200, 1), (60, 2), (80, 3))
    )
    told: list[tuple[int, int]] = []
    log = train_body(
        model, tokenizer, texts, labels, config=CONFIG, checkpoint_folder=tmp_path, seed=1,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    sizes = {"window_tokens": WINDOW, "stride_tokens": STRIDE}
    read = [encode(model, tokenizer, part, **sizes).vectors for part in (texts, calibration, unseen)]
    probs = probabilities(fit_head(read[0], labels, 2, read[1], truth), read[2])
    assert roc_auc_score(answer, probs[:, 1]) > 0.95
    assert told == [(step, log.steps) for step in range(1, log.steps + 1)]
    assert log.losses[-1][1] < log.losses[0][1]
    assert not model.training


def test_training_again_on_a_finished_run_takes_no_step_more(tiny: Callable[[], Network], tmp_path: Path):
    texts, labels = written(30, 1)
    first, second = tiny(), tiny()
    config = replace(CONFIG, epochs=2.5)  # its last step is not the last of an epoch
    log = train_body(*first, texts, labels, config=config, checkpoint_folder=tmp_path, seed=1)
    again = train_body(*second, texts, labels, config=config, checkpoint_folder=tmp_path, seed=1)
    assert again == replace(log, resumed_from_step=log.steps)
    assert all(torch.equal(tensor, second[0].state_dict()[name]) for name, tensor in state_of(first).items())


def test_a_half_written_checkpoint_and_one_of_another_run_are_thrown_away(tiny, tmp_path: Path):
    texts, labels = written(30, 1)
    log = train_body(*tiny(), texts, labels, config=CONFIG, checkpoint_folder=tmp_path, seed=1)
    (tmp_path / f"checkpoint-{log.steps}" / COMPLETE).unlink()
    after_kill = train_body(*tiny(), texts, labels, config=CONFIG, checkpoint_folder=tmp_path, seed=1)
    assert after_kill.resumed_from_step == log.steps - log.steps % 4 - (4 if log.steps % 4 == 0 else 0)
    other = train_body(*tiny(), texts, 1 - labels, config=CONFIG, checkpoint_folder=tmp_path, seed=1)
    assert other.resumed_from_step == 0
    another_encoder = tiny()
    torch.nn.init.zeros_(another_encoder[0].bert.pooler.dense.weight)
    swapped = train_body(
        *another_encoder, texts, 1 - labels, config=CONFIG, checkpoint_folder=tmp_path, seed=1
    )
    assert swapped.resumed_from_step == 0


def test_a_loss_that_is_no_number_stops_the_training_and_names_the_step(tiny, tmp_path: Path):
    texts, labels = written(30, 1)
    config = BodyTraining(WINDOW, STRIDE, learning_rate=1e30, batch_windows=8, warmup_share=0)
    with pytest.raises(TrainingDiverged, match=r"at step \d+; last good checkpoint: there is none before"):
        train_body(*tiny(), texts, labels, config=config, checkpoint_folder=tmp_path, seed=1)


def test_where_a_training_diverges_later_the_last_good_checkpoint_is_named_and_no_bad_one_is_kept(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    model, tokenizer = tiny()
    folder = tmp_path / "reports"

    def spoil(step: int, _steps: int) -> None:
        if step == 7:
            with torch.no_grad():
                model.classifier.weight[0, 0] = torch.nan

    with pytest.raises(TrainingDiverged, match=r"at step 8; last good checkpoint: reports/checkpoint-4\. "):
        train_body(
            model, tokenizer, *written(30, 1),
            config=CONFIG, checkpoint_folder=folder, seed=1, progress=spoil,
        )  # fmt: skip
    assert [path.name for path in folder.iterdir()] == ["checkpoint-4"]
    loaded = load_file(folder / "checkpoint-4" / "model.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in loaded.values())


def test_weights_that_a_good_loss_spoilt_are_not_saved(
    tiny: Callable[[], Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the last step is a number, and what it made of the weights is none."""
    step = torch.optim.AdamW.step

    def spoilt(self: torch.optim.Optimizer, *given: Any, **more: Any) -> Any:
        found = step(self, *given, **more)
        with torch.no_grad():
            self.param_groups[0]["params"][0].view(-1)[0] = torch.inf
        return found

    monkeypatch.setattr(torch.optim.AdamW, "step", spoilt)
    config = replace(CONFIG, epochs=1, batch_windows=64)
    with pytest.raises(TrainingDiverged, match="weights are no longer numbers at step 1"):
        train_body(*tiny(), *written(8, 1), config=config, checkpoint_folder=tmp_path, seed=1)


def test_a_gradient_is_shortened(tiny: Callable[[], Network], tmp_path: Path) -> None:
    moved = {}
    for norm in (1.0, 1e-12):
        network = tiny()
        before = state_of(network)
        config = replace(CONFIG, epochs=1, clip_norm=norm, weight_decay=0.0)
        train_body(*network, *written(8, 1), config=config, checkpoint_folder=tmp_path / str(norm), seed=1)
        moved[norm] = max(float((state_of(network)[name] - one).abs().max()) for name, one in before.items())
    assert moved[1e-12] < moved[1.0] / 100


def test_what_a_training_leaves_on_disk_holds_no_word_of_the_reports(tiny, tmp_path: Path):
    texts, labels = written(30, 1)
    marked = [f"{text} zwyxkqwj" for text in texts]
    train_body(*tiny(), marked, labels, config=CONFIG, checkpoint_folder=tmp_path, seed=1)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert b"zwyxkqwj" not in content, path
        assert "pleomórficas".encode() not in content, path


def test_training_prints_nothing(tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    texts, labels = written(30, 1)
    train_body(*tiny(), texts, labels, config=CONFIG, checkpoint_folder=tmp_path, seed=1)
    assert capfd.readouterr() == ("", "")


def test_every_epoch_has_each_window_once_in_an_order_of_its_own_and_batches_of_like_length():
    lengths = np.random.default_rng(1).integers(5, 100, 333)
    order = LengthGrouped(lengths, 8, seed=2)
    first, second = (np.concatenate(order.batches(epoch)) for epoch in (0, 1))
    assert sorted(first.tolist()) == list(range(333))
    assert first.tolist() != second.tolist()
    assert list(order) == first.tolist()
    assert [len(batch) for batch in order.batches(0)[:-1]] == [8] * 41
    assert np.mean([np.ptp(lengths[batch]) for batch in order.batches(0)]) < 10


def test_windows_longer_than_the_encoder_reads_and_an_empty_split_are_refused(tiny, tmp_path: Path):
    with pytest.raises(UnfitEncoder, match=f"reads {WINDOW} tokens at most"):
        train_body(
            *tiny(), ["mama"], np.zeros(1, int), config=BodyTraining(), checkpoint_folder=tmp_path, seed=1
        )
    with pytest.raises(UnfitData, match="training split is empty"):
        train_body(*tiny(), [], np.zeros(0, int), config=CONFIG, checkpoint_folder=tmp_path, seed=1)


def test_every_family_can_be_trained(network: Network, tmp_path: Path):
    texts, labels = written(24, 1)
    before = state_of(network)
    train_body(*network, texts, labels, config=CONFIG, checkpoint_folder=tmp_path, seed=1)
    moved = [name for name, tensor in state_of(network).items() if not torch.equal(tensor, before[name])]
    assert len(moved) > len(before) / 2


@pytest.mark.parametrize("layers", [1, 2])
def test_only_the_last_layers_and_what_comes_after_them_learn(network: Network, tmp_path: Path, layers: int):
    texts, labels = written(24, 1)
    before = state_of(network)
    config = replace(CONFIG, last_layers=layers)
    train_body(*network, texts, labels, config=config, checkpoint_folder=tmp_path, seed=1)
    moved = {name for name, tensor in state_of(network).items() if not torch.equal(tensor, before[name])}
    stack, held = layer_stack(network[0])
    first = f"{stack}.{max(0, len(held) - layers)}."
    below = [name for name, _ in network[0].named_parameters()]
    below = below[: next(at for at, name in enumerate(below) if name.startswith(first))]
    assert moved
    assert not moved & set(below)
    assert all(weights.requires_grad for weights in network[0].parameters())


class Crowded(BertForSequenceClassification):
    """Runs out of memory, in torch's words, with more than so many tokens at once."""

    most = 160

    def forward(self, input_ids: torch.Tensor, **rest: Any) -> Any:
        if input_ids.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(input_ids=input_ids, **rest)


def test_where_memory_runs_out_smaller_passes_make_the_same_steps(
    tiny: Callable[[], Network], tmp_path: Path
):
    texts, labels = written(24, 1)

    def crowded(stop_at: int | None) -> TrainLog:
        model, tokenizer = tiny()
        network = Crowded(model.config)
        network.load_state_dict(model.state_dict())

        def stop(step: int, _steps: int) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        return train_body(
            network, tokenizer, texts, labels,
            config=CONFIG, checkpoint_folder=tmp_path / "crowded", seed=1, progress=stop,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        crowded(6)
    log = crowded(None)
    assert (log.batch_tokens <= 160, log.resumed_from_step) == (True, 4)  # and it was not begun anew
    roomy = train_body(*tiny(), texts, labels, config=CONFIG, checkpoint_folder=tmp_path / "roomy", seed=1)
    assert (log.steps, roomy.batch_tokens) == (roomy.steps, CONFIG.batch_tokens)


def test_where_there_are_more_gpus_a_step_reads_no_more(
    tiny: Callable[[], Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def trained(folder: str) -> torch.Tensor:
        model, tokenizer = tiny()
        train_body(
            model, tokenizer, *written(16, 1),
            config=replace(CONFIG, epochs=1), checkpoint_folder=tmp_path / folder, seed=1,
        )  # fmt: skip
        return model.classifier.weight

    one = trained("one")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch.equal(trained("two"), one)


def test_memory_for_a_single_window_is_enough(tiny: Callable[[], Network], tmp_path: Path) -> None:
    model, tokenizer = tiny()
    taught = written(12, 1)
    network = Crowded(model.config)
    network.most = min(WINDOW, max(len(tokenizer(text)["input_ids"]) for text in taught[0]))
    config = replace(CONFIG, epochs=1, batch_windows=3)
    log = train_body(network, tokenizer, *taught, config=config, checkpoint_folder=tmp_path / "a", seed=1)
    roomy = train_body(*tiny(), *taught, config=config, checkpoint_folder=tmp_path / "b", seed=1)
    assert (log.batch_tokens, log.steps) == (network.most, roomy.steps)


def test_an_encoder_that_was_begun_again_is_the_one_that_is_saved(
    tiny: Callable[[], Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model, tokenizer = tiny()
    network = attentive(model, seed=1)  # of a family that knows no use_cache, which Trainer sets
    read = network.forward

    def crowded(input_ids: torch.Tensor, **rest: Any) -> Any:
        if input_ids.numel() > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return read(input_ids=input_ids, **rest)

    monkeypatch.setattr(network, "forward", crowded)
    log = train_body(
        network, tokenizer, *written(16, 1, words=(5, 20)),
        config=replace(CONFIG, epochs=1), checkpoint_folder=tmp_path / "steps", seed=1,
    )  # fmt: skip
    assert log.batch_tokens <= 100
    save((network, tokenizer), tmp_path / "saved")
    loaded = load_classifier(str(tmp_path / "saved"), local_files_only=True)
    assert encoder_sha(*loaded, WINDOW, STRIDE) == encoder_sha(network, tokenizer, WINDOW, STRIDE)


def test_memory_that_one_window_takes_is_no_batchs_doing(tiny: Callable[[], Network], tmp_path: Path):
    model, tokenizer = tiny()
    crowded = Crowded(model.config)
    crowded.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        train_body(crowded, tokenizer, *written(8, 1), config=CONFIG, checkpoint_folder=tmp_path, seed=1)


@pytest.mark.parametrize(("reports", "epochs"), [(12_000, 25 / 12), (500, 10), (90_000, 2), (0, 10)])
def test_a_network_from_scratch_reads_25_000_reports_in_2_to_10_epochs(reports: int, epochs: float) -> None:
    assert passes_over(reports) == pytest.approx(epochs)
