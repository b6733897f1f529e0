"""Protections of model folders that can be switched off; see patching.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import PreTrainedModel

from tasks import model_folders
from tasks.ml.faultpoints import reach
from tasks.ml.network import artifact, predictor
from tasks.torture.patching import replace


def rename() -> None:
    """A folder is written under its name, file by file, and a kill may fall between two of them."""

    def file_by_file(source: Path, target: Path) -> None:
        target.mkdir()
        for path in sorted(source.iterdir()):
            shutil.copy(path, target)
            reach("publish.fsynced")

    def instead(system: Any) -> Any:
        return SimpleNamespace(**{**vars(system), "rename": file_by_file})

    replace(artifact, "os", instead)


def manifest() -> None:
    """A folder is loaded without being held against its manifest."""

    def unread(_verify: Callable[..., str]) -> Callable[..., str]:
        return lambda folder, _manifest_sha=None: str(artifact.manifest_sha_of(folder))

    for module in (artifact, model_folders, predictor):
        replace(module, "verify", unread)


def pointer() -> None:
    """The file that names the champion is written in place, one half after the other."""

    def in_place(_write_atomically: Callable[..., None]) -> Callable[..., None]:
        def write(path: Path, content: bytes) -> None:
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                reach("pointer.written")
                file.write(content[len(content) // 2 :])

        return write

    replace(model_folders, "write_atomically", in_place)


def full_disk() -> None:
    """A publisher goes on where the weights could not be written, and seals what is there."""

    def ignoring(save: Callable[..., None]) -> Callable[..., None]:
        def save_what_fits(model: PreTrainedModel, folder: Path, **more: Any) -> None:
            try:
                save(model, folder, **more)
            except Exception:
                (folder / "model.safetensors").unlink(missing_ok=True)

        return save_what_fits

    replace(PreTrainedModel, "save_pretrained", ignoring)
