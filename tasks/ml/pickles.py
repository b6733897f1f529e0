"""Formats that can run code when read, kept out of every folder a model is loaded from."""

from __future__ import annotations

from pathlib import Path

from tasks.ml.errors import UnfitEncoder

PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib")


def refuse_pickles(folder: Path) -> None:
    """Raise UnfitEncoder for a folder that is absent or holds files that run code when read."""
    if not folder.is_dir():
        raise UnfitEncoder(f"{folder} is no folder; give the path of a Hugging Face model folder")
    found = sorted({str(path.relative_to(folder)) for pattern in PICKLES for path in folder.rglob(pattern)})
    if found:
        raise UnfitEncoder(
            f"{folder} holds {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}: formats that can run "
            "code when read. Where model.safetensors stands beside, delete them; else convert the model "
            "once, on a machine you can lose: AutoModel.from_pretrained(folder).save_pretrained(new_folder)"
        )
