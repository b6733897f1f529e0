"""A model folder: plain Hugging Face files, laudos.json, and a manifest that proves it whole.

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json   what any pipeline loads
    laudos.json  familiarity.safetensors                                   what laudos adds
    MANIFEST.json                                                          sha256 and size of each file

A folder appears under its name whole or not at all: everything is written and fsynced in a hidden
folder beside it, which is then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.conformal import Thresholds
from tasks.ml.disk import room_in
from tasks.ml.encoder import refuse_pickles
from tasks.ml.errors import BrokenArtifact, UnfitEncoder
from tasks.ml.familiarity import Familiarity, Limit
from tasks.ml.faultpoints import reach
from tasks.ml.head import Head, fold_in
from tasks.ml.quiet import quietly

MANIFEST = "MANIFEST.json"
FACTS = "laudos.json"
FORMAT = 1
LEFTOVER_AFTER_S = 3600
_NEWER = ("familiarity", "machine")  # entries that an older laudos.json does not have
WAY_OUT = "Restore it from a back-up, or go back to an earlier model: laudos models rollback"

CAVEAT = (
    "A research tool, not a medical device. Where it learnt from synthetic reports (written from WDBC: "
    "nuclear measurements of fine-needle aspirates, not reports), its figures show that the pipeline works; "
    "they are no clinical validation."
)


@dataclass(frozen=True)
class LaudosJson:
    """What laudos must know beside the network: content of laudos.json."""

    classifier: str
    labels: tuple[str, ...]
    critical: str
    window_tokens: int
    stride_tokens: int
    encoder_sha: str
    snapshot_sha: str
    seed: int
    created_at: datetime
    thresholds: Thresholds
    temperature: float = 1.0  # for the record: it is already folded into the head
    versions: Mapping[str, str] = field(default_factory=dict)  # package -> version
    caveat: str = CAVEAT
    familiarity: Limit | None = None  # None: made before there was one; every text is answered alike
    machine: Mapping[str, str] = field(default_factory=dict)  # what trained it; empty: not told yet then

    def as_json(self) -> dict[str, Any]:
        content = asdict(self)
        content["created_at"] = self.created_at.isoformat()
        content["thresholds"] = self.thresholds.as_json()
        return {"format": FORMAT, **content}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LaudosJson:
        """Raises BrokenArtifact for another format or a missing entry."""
        if content.get("format") != FORMAT:
            raise BrokenArtifact(
                f"{FACTS} has format {content.get('format')!r} and this laudos reads {FORMAT}; "
                "use the laudos version that made the model, or retrain"
            )
        try:
            known = {name: content[name] for name in cls.__dataclass_fields__ if name not in _NEWER}
            known["machine"] = content.get("machine", {})
            limit = content.get("familiarity")
            known["familiarity"] = None if limit is None else Limit(**limit)
            known["labels"] = tuple(known["labels"])
            known["created_at"] = datetime.fromisoformat(known["created_at"])
            known["thresholds"] = Thresholds.from_json(known["thresholds"])
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenArtifact(f"{FACTS} lacks an entry or holds a wrong one ({error}); retrain") from None
        return cls(**known)


@dataclass(frozen=True)
class Published:
    """Where a model folder is, and the sha256 of its manifest."""

    path: Path
    manifest_sha: str


def publish(
    folder_root: Path,
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    head: Head | None,
    facts: LaudosJson,
    familiarity: Familiarity | None = None,
) -> Published:
    """Write `folder_root/name`; `head`, where given, is first folded into the model.

    A kill at any moment leaves the whole folder or none; what a killed one left hidden beside it is
    removed by a later publish. An existing folder is never replaced. Raises BrokenArtifact, or DiskFull
    with nothing left behind.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        raise BrokenArtifact("a model's name is made of at most 100 letters, digits, '.', '_' and '-'")
    target = folder_root / name
    if target.exists():
        raise BrokenArtifact(f"{target} exists already and is never replaced; choose another name")
    if head is not None:
        fold_in(model, head)
    with room_in(folder_root):
        folder_root.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder_root))
    _remove_leftovers(folder_root, partial)
    try:
        with quietly(), room_in(folder_root):
            model.save_pretrained(partial)
            reach("publish.weights.written")
            tokenizer.save_pretrained(partial)
            if familiarity is not None:
                familiarity.save(partial)
            # facts that were another folder's may name a limit whose file is not in this one
            limit = None if familiarity is None else familiarity.limit
            _write_json(partial / FACTS, replace(facts, familiarity=limit).as_json())
            _seal(partial)
        partial.chmod(0o755)  # mkdtemp keeps everybody else out; the scorer may be another user
        _fsync(partial)
        reach("publish.fsynced")
        manifest_sha = _sha_of(partial / MANIFEST)
        os.rename(partial, target)  # fails where somebody else published a folder of that name meanwhile
        reach("publish.renamed")
    except OSError as error:
        raise BrokenArtifact(
            f"{target} could not be written ({error.strerror}); nothing was published"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _fsync(folder_root)
    return Published(target, manifest_sha)


def _seal(folder: Path) -> None:
    """Write the manifest of all that lies in the folder, and bring every file to the disk."""
    files = {path: _sha_of(folder / path) for path in _files_in(folder)}
    sizes = {path: (folder / path).stat().st_size for path in files}
    entries = {path: {"sha256": sha, "bytes": sizes[path]} for path, sha in files.items()}
    _write_json(folder / MANIFEST, {"format": FORMAT, "files": entries})
    reach("publish.manifest.written")
    for path in [*files, MANIFEST]:
        _fsync(folder / path)


def verify(folder: Path, manifest_sha: str | None = None) -> str:
    """sha256 of the folder's manifest, after every file in it was read and found as published.

    Raises BrokenArtifact naming the files that are missing, altered or additional, or where the
    manifest is not the one of `manifest_sha`.
    """
    if not folder.is_dir():
        raise BrokenArtifact(f"{folder} is not there. {WAY_OUT}")
    try:
        refuse_pickles(folder)
    except UnfitEncoder as error:
        raise BrokenArtifact(str(error)) from None
    entries = _manifest(folder)
    found = _files_in(folder)
    problems = [f"{path} is missing" for path in sorted(entries.keys() - set(found))]
    problems += [f"{path} was added" for path in found if path not in entries and path != MANIFEST]
    for path in sorted(entries.keys() & set(found)):
        if not _is_plain(folder / path) or _sha_of(folder / path) != entries[path].get("sha256"):
            problems.append(f"{path} was altered")
    found_sha = _sha_of(folder / MANIFEST)
    if manifest_sha is not None and found_sha != manifest_sha:
        problems.append(f"{MANIFEST} was altered: {found_sha[:12]}, recorded was {manifest_sha[:12]}")
    if problems:
        raise BrokenArtifact(f"{folder}: {'; '.join(problems)}. {WAY_OUT}")
    return found_sha


def manifest_sha_of(folder: Path) -> str | None:
    """sha256 of the folder's manifest as it stands there; None where there is none."""
    path = folder / MANIFEST
    return _sha_of(path) if _is_plain(path) else None


def read_facts(folder: Path) -> LaudosJson:
    """laudos.json of a verified folder. Raises BrokenArtifact."""
    return LaudosJson.from_json(_read_json(folder / FACTS))


def _manifest(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    if not (folder / MANIFEST).is_file():
        raise BrokenArtifact(f"{folder} has no {MANIFEST}: half-written, or no model of laudos. {WAY_OUT}")
    content = _read_json(folder / MANIFEST)
    entries: Any = content.get("files")
    known = isinstance(entries, dict) and all(isinstance(entry, dict) for entry in entries.values())
    if content.get("format") != FORMAT or not known or FACTS not in entries:
        raise BrokenArtifact(f"{folder / MANIFEST} is of an unknown format; use the laudos that made it")
    manifest: Mapping[str, Mapping[str, Any]] = entries
    return manifest


def _files_in(folder: Path) -> Sequence[str]:
    """Every file and link at any depth, relative to the folder and sorted."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(str(path.relative_to(folder)) for path in paths)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _remove_leftovers(root: Path, fresh: Path) -> None:
    """Hidden folders of killed publishes: anything an hour older than `fresh` (by the same disk's clock)."""
    for path in root.glob(".partial-*"):
        if fresh.stat().st_mtime - path.stat().st_mtime > LEFTOVER_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)


def _sha_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BrokenArtifact(f"{path} is not readable JSON: half-written or altered; restore it") from None
    if not isinstance(content, dict):
        raise BrokenArtifact(f"{path} is not a JSON object; restore it from a back-up")
    return content


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
