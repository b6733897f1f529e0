"""A back-up restored into the folder in use: what bears a number that is given out anew is another's."""

from __future__ import annotations

from pathlib import Path

from tasks.backup import back_up, restore
from tasks.model_folders import fault_of, folder_of
from tests.learning.retraining import challenge, model_of
from tests.learning.world import World


def test_after_a_restore_the_next_night_publishes_beside_a_folder_without_a_row(
    world: World, tmp_path: Path
) -> None:
    world.add(range(60))
    challenge(world)
    back_up(world.settings, tmp_path / "backup")
    world.add(range(60, 70))
    taken_back = folder_of(world.settings, model_of(world, challenge(world, "full").model_id))
    restore(world.settings, tmp_path / "backup", overwrite=True)
    world.add(range(70, 80))
    again = model_of(world, challenge(world, "full").model_id)
    assert folder_of(world.settings, again) == taken_back.with_name(f"{taken_back.name}-2")
    assert fault_of(world.settings, again) is None
    assert taken_back.is_dir()  # it is nobody's now: for "laudos models gc"
