"""Whether a published folder is still what was published. Without torch: whoever asks need not wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.ml.sealed import has_its_files, read_json, verified

FACTS = "laudos.json"
WAY_OUT = "Restore it from a back-up, or go back to an earlier model: laudos models rollback"
# of an encoder that was pre-trained here
PRETRAINING = "pretraining.json"
_ENCODER = "pre-trained encoder"
PRETRAINED_WAY_OUT = 'Remove the folder and run "laudos pretrain" again'


def verify(folder: Path, manifest_sha: str | None = None) -> str:
    """sha256 of the folder's manifest, after every file in it was read and found as published.

    Raises BrokenArtifact naming the files that are missing, altered or additional, or where the
    manifest is not the one of `manifest_sha`.
    """
    return verified(folder, facts=FACTS, of="model", way_out=WAY_OUT, manifest_sha=manifest_sha)


def pretraining_facts(folder: Path) -> dict[str, Any]:
    """pretraining.json, after every file was found as it was published. Raises BrokenArtifact."""
    verify_pretrained(folder)
    return read_json(folder / PRETRAINING)


def verify_pretrained(folder: Path, manifest_sha: str | None = None) -> str:
    """As `verify`, of an encoder that was pre-trained here."""
    return verified(
        folder, facts=PRETRAINING, of=_ENCODER, way_out=PRETRAINED_WAY_OUT, manifest_sha=manifest_sha
    )


def pretrained_in(root: Path) -> Iterator[tuple[str, bool]]:
    """Names of the encoders there, and whether each has its files: by names and sizes, which is quick."""
    for folder in sorted(path for path in root.glob("[!.]*") if path.is_dir()):
        yield folder.name, has_its_files(folder, facts=PRETRAINING, of=_ENCODER)
