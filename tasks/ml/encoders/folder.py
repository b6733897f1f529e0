"""An encoder as a sealed folder: fetched on one machine, carried, taken in on another.

config.json  model.safetensors  tokenizer.json  ...     as its makers publish it
laudos-encoder.json                                     which one it is, and from where
MANIFEST.json                                           sha256 and size of each file
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.ml.disk import room_in
from tasks.ml.encoders.presets import NAME
from tasks.ml.errors import BrokenArtifact, UnfitEncoder
from tasks.ml.sealed import (
    bring_to_disk,
    files_in,
    fsync,
    has_its_files,
    manifest_sha_of,
    open_as,
    read_json,
    remove_leftovers,
    verified,
    write_json,
    write_manifest,
)

FACTS = "laudos-encoder.json"
FORMAT = 1
WAY_OUT = 'Carry it over once more, or fetch it again: "laudos encoders fetch NAME"'


@dataclass(frozen=True)
class EncoderFacts:
    """Content of laudos-encoder.json. Family, window and parameters are read off the network itself.

    window: tokens it can tell apart, None where it has no such limit; parameters: of all but the head.
    """

    name: str
    hub: str
    revision: str
    family: str
    window: int | None
    parameters: int
    licence: str | None = None


def facts_of(folder: Path, name: str, hub: str, revision: str, licence: str | None) -> EncoderFacts:
    """What a folder holds, once it was loaded as a classifier: the proof that it can be trained.

    Raises UnfitEncoder where transformers cannot load it, without remote code, from safetensors, or
    would draw a part of it at random. A head that does not fit is no fault: each training draws its own.
    """
    # torch comes with it: who lists encoders or copies their folders need not wait
    from tasks.ml.network.encoder import load_classifier, positions

    model, _ = load_classifier(str(folder), local_files_only=True, ignore_mismatched_sizes=True)
    body = sum(tensor.numel() for tensor in model.base_model.parameters())
    return EncoderFacts(name, hub, revision, str(model.config.model_type), positions(model), body, licence)


def seal(folder: Path, facts: EncoderFacts) -> str:
    """Write facts and manifest and bring all of it to the disk; the manifest's sha256."""
    write_json(folder / FACTS, {"format": FORMAT, **asdict(facts)})
    write_manifest(folder)
    bring_to_disk(folder)
    fsync(folder)
    return str(manifest_sha_of(folder))


def checked(folder: Path, manifest_sha: str | None = None) -> str:
    """The manifest's sha256, after every file was read. Raises BrokenArtifact naming what is wrong.

    manifest_sha: what it must be.
    """
    return verified(folder, facts=FACTS, of="encoder", way_out=WAY_OUT, manifest_sha=manifest_sha)


def read_encoder(folder: Path) -> EncoderFacts:
    """Its facts as they stand there. Raises BrokenArtifact for another format or a missing entry."""
    content = read_json(folder / FACTS)
    if content.pop("format", None) != FORMAT:
        raise BrokenArtifact(f"{folder / FACTS} is of another format; use the laudos that made it")
    try:
        return EncoderFacts(**content)
    except TypeError:
        raise BrokenArtifact(f"{folder / FACTS} lacks an entry. {WAY_OUT}") from None


def take_in(folder: Path, root: Path, name: str | None = None) -> tuple[EncoderFacts, bool]:
    """Copy a checked folder to `root/name`; its facts, and whether it was new.

    name: what laudos will call it, by default as it was fetched. The copy is checked too and appears
    whole or not at all. The same one twice is no error; another one under a name that is taken is.
    Raises BrokenArtifact, UnfitEncoder or DiskFull, with nothing left behind.
    """
    from tasks.ml.network.encoder import load_classifier

    sha = checked(folder)
    facts = read_encoder(folder)
    name = facts.name if name is None else name
    refuse_bad_name(name)
    target = root / name
    if target.exists():
        return facts, _is_another(target, sha)
    with room_in(root):
        root.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=root))
        remove_leftovers(root, partial)
        try:
            for path in files_in(folder):
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / path, partial / path)
            checked(partial)
            load_classifier(str(partial), local_files_only=True, ignore_mismatched_sizes=True)
            open_as(partial, like=partial / FACTS)
            bring_to_disk(partial)
            fsync(partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        fsync(root)
    return facts, True


def refuse_bad_name(name: str) -> None:
    """Raise UnfitEncoder for what could not be a folder's name, or would hide a scratch size."""
    if not NAME.fullmatch(name) or name.startswith("scratch"):
        raise UnfitEncoder(
            f"{name!r} cannot be an encoder's name: at most 64 small letters, digits, '.', '_' and '-', "
            'and not beginning with scratch; choose one with "--name"'
        )


def found_in(root: Path) -> Iterator[tuple[str, EncoderFacts | None]]:
    """Names of the encoders there, and their facts; None for one that is not as it was taken in.

    By names and sizes only, since files are large: a training reads and checks every byte.
    """
    for folder in sorted(path for path in root.glob("*") if path.is_dir() and NAME.fullmatch(path.name)):
        try:
            whole = has_its_files(folder, facts=FACTS, of="encoder")
            yield folder.name, read_encoder(folder) if whole else None
        except BrokenArtifact:
            yield folder.name, None


def _is_another(target: Path, sha: str) -> bool:
    """False where `target` is that very one; raises where it is another, or no longer whole."""
    if checked(target) != sha:
        raise BrokenArtifact(
            f"{target} holds another encoder, or another revision, and is never replaced: models were "
            "trained from it. Import this one under a name of its own: "
            '"laudos encoders import FOLDER --name NAME"'
        )
    return False
