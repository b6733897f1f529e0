"""Whether a published folder is still what was published. Without torch: whoever asks need not wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.ml.sealed import read_json, verified

FACTS = "laudos.json"
WAY_OUT = "Restore it from a back-up, or go back to an earlier model: laudos models rollback"
# of an encoder that was pre-trained here
PRETRAINING = "pretraining.json"
PRETRAINED_WAY_OUT = 'Remove the folder and run "laudos pretrain" again'


def verify(folder: Path, manifest_sha: str | None = None) -> str:
    """sha256 of the folder's manifest, after every file in it was read and found as published.

    Raises BrokenArtifact naming the files that are missing, altered or additional, or where the
    manifest is not the one of `manifest_sha`.
    """
    return verified(folder, facts=FACTS, of="model", way_out=WAY_OUT, manifest_sha=manifest_sha)


def pretraining_facts(folder: Path) -> dict[str, Any]:
    """pretraining.json, after every file was found as it was published. Raises BrokenArtifact."""
    verified(folder, facts=PRETRAINING, of="pre-trained encoder", way_out=PRETRAINED_WAY_OUT)
    return read_json(folder / PRETRAINING)
