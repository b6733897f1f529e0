"""A folder that proves itself whole: MANIFEST.json holds the sha256 and size of every other file in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.ml.errors import BrokenArtifact, ClosedArtifact, UnfitEncoder
from tasks.ml.pickles import refuse_pickles

MANIFEST = "MANIFEST.json"
FORMAT = 1
LEFTOVER_AFTER_S = 3600

Manifest = Mapping[str, Mapping[str, Any]]


@contextmanager
def _told_if_closed() -> Iterator[None]:
    """What this user may not read is told with whose it is. Raises ClosedArtifact."""
    try:
        yield
    except PermissionError as refused:
        path = Path(refused.filename)
    else:
        return
    raise ClosedArtifact(
        f"{path} may not be read by this user, and is {_owner_of(path)}'s, who can open it: "
        f"chmod -R a+rX {path.parent}"
    )


def _owner_of(path: Path) -> str:
    """The nearest that may be told: whoever owns the file, or the folder that it is in."""
    for one in (path, *path.parents):
        try:
            return one.owner()
        except KeyError:
            return f"user {one.stat().st_uid}"  # of another machine
        except OSError:
            continue
    return "somebody else"


def open_as(folder: Path, like: Path) -> None:
    """Give a folder and every file in it the mode that the umask gave `like`.

    mkdtemp and safetensors let nobody else in, whatever the umask; who reads it may be another user.
    """
    mode = like.stat().st_mode & 0o666
    for name in files_in(folder):
        (folder / name).chmod(mode)
    folder.chmod(mode | (mode & 0o444) >> 2)


def write_manifest(folder: Path) -> None:
    """Of all that lies in the folder; nothing is brought to the disk yet."""
    files = {path: folder / path for path in files_in(folder) if path != MANIFEST}
    entries = {name: {"sha256": sha_of(path), "bytes": path.stat().st_size} for name, path in files.items()}
    write_json(folder / MANIFEST, {"format": FORMAT, "files": entries})


def bring_to_disk(folder: Path) -> None:
    """fsync every file in it, the manifest last."""
    for name in [*(path for path in files_in(folder) if path != MANIFEST), MANIFEST]:
        fsync(folder / name)


@_told_if_closed()
def verified(folder: Path, *, facts: str, of: str, way_out: str, manifest_sha: str | None = None) -> str:
    """sha256 of the folder's manifest, after every file in it was read and found as sealed.

    facts: a file without which it is no folder `of` laudos; way_out: what the errors recommend.
    Raises BrokenArtifact naming the files that are missing, altered or additional, or where the
    manifest is not the one of `manifest_sha`; ClosedArtifact for one that this user may not read.
    """
    if not folder.is_dir():
        raise BrokenArtifact(f"{folder} is not there. {way_out}")
    try:
        refuse_pickles(folder)
    except UnfitEncoder as error:
        raise BrokenArtifact(str(error)) from None
    entries = read_manifest(folder, facts=facts, of=of, way_out=way_out)
    found = files_in(folder)
    problems = [f"{path} is missing" for path in sorted(entries.keys() - set(found))]
    problems += [f"{path} was added" for path in found if path not in entries and path != MANIFEST]
    for path in sorted(entries.keys() & set(found)):
        if not _is_plain(folder / path) or sha_of(folder / path) != entries[path].get("sha256"):
            problems.append(f"{path} was altered")
    found_sha = sha_of(folder / MANIFEST)
    if manifest_sha is not None and found_sha != manifest_sha:
        problems.append(f"{MANIFEST} was altered: {found_sha[:12]}, recorded was {manifest_sha[:12]}")
    if problems:
        raise BrokenArtifact(f"{folder}: {'; '.join(problems)}. {way_out}")
    return found_sha


def read_manifest(folder: Path, *, facts: str, of: str, way_out: str) -> Manifest:
    """File -> its sha256 and bytes. Raises BrokenArtifact where there is none that makes sense."""
    if not (folder / MANIFEST).is_file():
        raise BrokenArtifact(f"{folder} has no {MANIFEST}: half-written, or no {of} of laudos. {way_out}")
    content = read_json(folder / MANIFEST)
    entries: Any = content.get("files")
    known = isinstance(entries, dict) and all(isinstance(entry, dict) for entry in entries.values())
    if content.get("format") != FORMAT or not known or facts not in entries:
        raise BrokenArtifact(f"{folder / MANIFEST} is of an unknown format; use the laudos that made it")
    manifest: Manifest = entries
    return manifest


def has_its_files(folder: Path, *, facts: str, of: str) -> bool:
    """Whether its files are those of its manifest, by names and sizes: quick however large they are."""
    try:
        entries = read_manifest(folder, facts=facts, of=of, way_out="")
        sizes = {path: (folder / path).stat().st_size for path in files_in(folder) if path != MANIFEST}
    except (BrokenArtifact, OSError):
        return False
    return sizes == {path: entry.get("bytes") for path, entry in entries.items()}


@_told_if_closed()
def manifest_sha_of(folder: Path) -> str | None:
    """sha256 of the folder's manifest as it stands there; None where there is none. Raises ClosedArtifact."""
    path = folder / MANIFEST
    return sha_of(path) if _is_plain(path) else None


def files_in(folder: Path) -> Sequence[str]:
    """Every file and link at any depth, relative to the folder and sorted."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(str(path.relative_to(folder)) for path in paths)


def remove_leftovers(root: Path, fresh: Path) -> None:
    """Hidden folders of killed runs: anything an hour older than `fresh` (by the same disk's clock)."""
    for path in root.glob(".partial-*"):
        if fresh.stat().st_mtime - path.stat().st_mtime > LEFTOVER_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)


def sha_of(path: Path) -> str:
    """sha256 of a file, in hex; it is never in memory whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


@_told_if_closed()
def read_json(path: Path) -> dict[str, Any]:
    """Raises BrokenArtifact for what is no JSON object, ClosedArtifact for what this user may not read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except PermissionError:
        raise
    except (OSError, ValueError):
        raise BrokenArtifact(f"{path} is not readable JSON: half-written or altered; restore it") from None
    if not isinstance(content, dict):
        raise BrokenArtifact(f"{path} is not a JSON object; restore it from a back-up")
    return content


def fsync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
