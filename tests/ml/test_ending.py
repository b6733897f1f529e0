"""When a training ends: killed, because held-out reports grow no better, or because its time is up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TrainerState

from tasks.ml.errors import UnfitData
from tasks.ml.training.body_training import BodyTraining, TrainLog
from tasks.ml.training.checkpoints import COMPLETE, last_complete
from tasks.ml.training.held_out import HeldOut
from tasks.ml.training.training import train_body
from tests.ml.conftest import STRIDE, WINDOW, Network, written
from tests.ml.killed import told_by

CONFIG = BodyTraining(
    WINDOW, STRIDE, epochs=4, learning_rate=4e-3, batch_windows=8, checkpoint_every_steps=5, evaluations=8
)

# One training to its early end, and one that is killed before and after its best evaluation
KILLED_AND_RESUMED = """
import json, sys
from pathlib import Path
import numpy as np
from tasks.ml.training.body_training import BodyTraining
from tasks.ml.network.encoder import EncoderSpec, make_scratch
from tasks.ml.training.held_out import HeldOut
from tasks.ml.training.training import train_body
from tests.ml.conftest import LABELS, written
from tests.ml.killed import in_child, killed_at, sha_of

root = Path(sys.argv[1])
texts, labels = written(40, seed=1, words=(5, 60))
unlike, said = written(20, seed=2, words=(5, 40))
held = HeldOut(unlike, np.where(np.arange(20) % 3 == 0, 1 - said, said))
config = BodyTraining(48, 8, epochs=6, learning_rate=4e-3, batch_windows=8, checkpoint_every_steps=4,
                      evaluations=12, patience=2)

def train(folder, kill_at):
    model, tokenizer = make_scratch(texts, LABELS, EncoderSpec(window_tokens=48, hidden_size=32), seed=3)
    log = train_body(model, tokenizer, texts, labels, config=config, checkpoint_folder=root / folder, seed=5,
                     progress=killed_at(kill_at), held_out=held)
    told = [log.resumed_from_step, sha_of(model), log.record, log.losses, log.held_losses]
    root.joinpath(folder + ".json").write_text(json.dumps(told))

codes = [in_child(lambda: train("whole", 0))]
[_, _, record, _, _] = json.loads((root / "whole.json").read_text())
for kill_at in (record["kept_step"] - 1, record["steps"], 0):
    codes.append(in_child(lambda: train("cut", kill_at)))
print(json.dumps(codes))
"""


def held(reports: int = 20, *, right: bool = True) -> HeldOut:
    """Reports of the same kind; or such as bear labels that have nothing to do with them."""
    texts, labels = written(reports, seed=9)
    return HeldOut(texts, labels if right else np.arange(reports) // 2 % 2)


def trained(
    network: Network, folder: Path, config: BodyTraining, given: HeldOut | None, reports: int = 32
) -> TrainLog:
    return train_body(
        *network, *written(reports, 1), config=config, checkpoint_folder=folder, seed=1, held_out=given
    )


def same(one: Network, other: Network) -> bool:
    theirs = other[0].state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one[0].state_dict().items())


def test_a_training_ends_where_held_out_reports_grow_no_better_and_keeps_the_best_weights(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    network, config = tiny(), replace(CONFIG, patience=2)
    unlike = held(right=False)
    log = trained(network, tmp_path, config, unlike)
    judged = dict(log.held_losses)
    assert log.ended == "early"
    assert log.kept_step < log.steps < log.planned_steps
    assert judged[log.kept_step] == min(judged.values())
    assert [step for step in judged if step > log.kept_step] == [*judged][-2:]
    assert unlike.judge(*network, config)() == judged[log.kept_step]


def test_where_held_out_reports_grow_better_to_the_end_nothing_ends_it(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    config = replace(CONFIG, patience=4, epochs=6, learning_rate=2e-3)
    log = trained(tiny(), tmp_path, config, held(), reports=48)
    assert (log.ended, log.steps) == ("complete", log.planned_steps)
    assert log.held_losses[-1][1] < log.held_losses[0][1] / 2


def test_what_is_held_out_changes_no_step(tiny: Callable[[], Network], tmp_path: Path) -> None:
    """To look at a network teaches it nothing: every batch finds it as it would have."""
    config = replace(CONFIG, epochs=2)
    plain = trained(tiny(), tmp_path / "plain", config, None)
    watched = trained(tiny(), tmp_path / "watched", config, held())
    assert len(watched.held_losses) > 5
    assert watched.losses == plain.losses


def test_a_killed_training_ends_with_the_weights_and_the_curve_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    assert told_by(KILLED_AND_RESUMED, tmp_path) == [0, -9, -9, 0]
    whole, cut = (json.loads((tmp_path / name).read_text()) for name in ("whole.json", "cut.json"))
    assert whole[0] == 0 < cut[0]
    assert whole[2]["ended"] == "early"
    assert cut[1:] == whole[1:]


def test_a_training_that_has_ended_early_takes_no_step_more(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    first, second, config = tiny(), tiny(), replace(CONFIG, patience=2)
    log = trained(first, tmp_path, config, held(right=False))
    again = trained(second, tmp_path, config, held(right=False))
    assert again.resumed_from_step == log.steps
    assert again.record == log.record
    assert same(first, second)


def test_a_checkpoint_whose_best_weights_are_gone_is_not_taken_up(tmp_path: Path) -> None:
    for step, best in ((4, None), (8, 6), (6, 6)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        TrainerState(global_step=step, best_global_step=best).save_to_json(str(folder / "trainer_state.json"))
        (folder / COMPLETE).write_text("this one")
    assert last_complete(tmp_path, "this one") == tmp_path / "checkpoint-8"
    shutil.rmtree(tmp_path / "checkpoint-6")
    assert last_complete(tmp_path, "this one") == tmp_path / "checkpoint-4"
    assert not (tmp_path / "checkpoint-8").exists()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that somebody else moves."""
    now = [0.0]
    for module in ("training", "trainer"):
        monkeypatch.setattr(f"tasks.ml.training.{module}.monotonic", lambda: now[0])
    return now


def timed(network: Network, clock: list[float], folder: Path, kill_at: int | None = None) -> TrainLog:
    """A step takes ten seconds, and 95 may be spent."""

    def tick(*_: object) -> None:
        clock[0] += 10

    def kill(step: int, _steps: int) -> None:
        if step == kill_at:
            raise KeyboardInterrupt

    hook = network[0].bert.register_forward_pre_hook(tick)
    try:
        return train_body(
            *network, *written(32, 1),
            config=replace(CONFIG, max_seconds=95), checkpoint_folder=folder, seed=1, progress=kill,
        )  # fmt: skip
    finally:
        hook.remove()


def test_a_limit_of_time_ends_a_training_at_the_next_step_with_the_weights_it_has_by_then(
    tiny: Callable[[], Network], tmp_path: Path, clock: list[float]
) -> None:
    late, again = tiny(), tiny()
    log = timed(late, clock, tmp_path / "late")
    assert (log.ended, log.steps, log.kept_step, log.seconds) == ("time", 10, 10, 100)
    assert log.planned_steps == 24
    made = trained(again, tmp_path / "again", replace(CONFIG, ends_at_step=log.steps), None)
    assert made.record == log.record
    assert same(late, again)


def test_a_run_that_is_taken_up_counts_the_time_that_was_spent(
    tiny: Callable[[], Network], tmp_path: Path, clock: list[float]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        timed(tiny(), clock, tmp_path / "cut", kill_at=8)
    clock[0] += 1_000  # nobody trains in the meantime
    resumed, whole = tiny(), tiny()
    log = timed(resumed, clock, tmp_path / "cut")
    # what the kill took away, steps 6 to 8, is computed again and counted once
    assert (log.resumed_from_step, log.steps, log.seconds) == (5, 10, 100)
    timed(whole, clock, tmp_path / "whole")
    assert same(resumed, whole)


def test_a_limit_of_time_with_held_out_reports_keeps_the_best_so_far(
    tiny: Callable[[], Network], tmp_path: Path
) -> None:
    network, unlike = tiny(), held(right=False)
    log = trained(network, tmp_path, replace(CONFIG, ends_at_step=14), unlike)
    judged = dict(log.held_losses)
    assert (log.ended, log.steps, max(judged)) == ("time", 14, 14)  # judged at its end, too
    assert unlike.judge(*network, CONFIG)() == judged[log.kept_step] == min(judged.values())


def test_every_family_can_be_watched(network: Network, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1, loss="balanced", layer_decay=0.9)
    log = trained(network, tmp_path, config, held(8))
    assert [step for step, _ in log.held_losses] == list(range(1, log.steps + 1))


def test_nothing_held_out_is_refused(tiny: Callable[[], Network], tmp_path: Path) -> None:
    with pytest.raises(UnfitData, match="no report is held out"):
        trained(tiny(), tmp_path, CONFIG, HeldOut([], np.zeros(0, int)))
