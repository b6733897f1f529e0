"""Whether a published model folder is still what was published. Without torch: a rollback is quick."""

from __future__ import annotations

from pathlib import Path

from tasks.ml.sealed import verified

FACTS = "laudos.json"
WAY_OUT = "Restore it from a back-up, or go back to an earlier model: laudos models rollback"


def verify(folder: Path, manifest_sha: str | None = None) -> str:
    """sha256 of the folder's manifest, after every file in it was read and found as published.

    Raises BrokenArtifact naming the files that are missing, altered or additional, or where the
    manifest is not the one of `manifest_sha`.
    """
    return verified(folder, facts=FACTS, of="model", way_out=WAY_OUT, manifest_sha=manifest_sha)
