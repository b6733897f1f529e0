"""Encoders by name: which laudos knows, which are on disk, and how one comes in.

<folder>/encoders/<name>/        one that was imported, sealed (tasks/ml/encoders/folder.py)

Nothing here needs the database; fetching needs no configuration either, since it runs on another machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from db.errors import ConfigurationError
from tasks.ml.encoders.folder import EncoderFacts, checked, found_in, take_in
from tasks.ml.encoders.hub import fetch, where_commits_are
from tasks.ml.encoders.presets import Pretrained, Scratch, presets
from tasks.ml.sealed import sha_of
from tasks.model_folders import encoders_folder
from tasks.settings.errors import nearest
from tasks.settings.settings import ClassifierSettings, Settings

OnDisk = Literal["yes", "no", "altered", "made here"]
MILLION = 1_000_000
DECISIVE = (
    ".safetensors",
    ".json",
    ".txt",
    ".model",
)  # weights, and the files of a configuration and a tokenizer


@dataclass(frozen=True)
class EncoderLine:
    """One that `classifiers.X.encoder` may name; None: not known, or it has none.

    parameters: millions; layers and hidden_size: of a scratch one; window: tokens read at once; revision: of
    what is on disk, else the pinned one; weights: what lies at it; whose: who made it, where not the authors.
    """

    name: str
    on_disk: OnDisk
    used_by: tuple[str, ...]
    choose: str
    language: str | None = None
    parameters: int | None = None
    layers: int | None = None
    hidden_size: int | None = None
    window: int | None = None
    licence: str | None = None
    download_mb: int | None = None
    hub: str | None = None
    revision: str | None = None
    weights: str | None = None
    whose: str | None = None


@dataclass(frozen=True)
class Fetched:
    """What lies in `folder` now, and what to do with it next."""

    name: str
    hub: str
    revision: str
    licence: str | None
    family: str
    window: int | None
    parameters: int
    folder: str
    next: str


@dataclass(frozen=True)
class Imported:
    """new: False where that very encoder was there already."""

    name: str
    new: bool
    hub: str
    revision: str
    folder: str


def list_encoders(settings: Settings) -> Sequence[EncoderLine]:
    """Presets in the order of their file, then what was imported under a name of its own."""
    found = dict(found_in(encoders_folder(settings)))
    known = presets()
    lines = [_pretrained(settings, name, one, found) for name, one in known.pretrained.items()]
    lines += [_imported(settings, name, found[name]) for name in found if name not in known.pretrained]
    return [*lines, *(_scratch(settings, name, one) for name, one in known.scratch.items())]


def fetch_encoder(
    wanted: str, *, revision: str | None, to: Path | None, name: str | None, endpoint: str | None
) -> Fetched:
    """Download a preset, or any hub name, to a sealed folder: `to`, else its name in this folder.

    Raises ConfigurationError where it is neither, or no revision is known; MlError as `fetch` does.
    """
    known = presets()
    if wanted in known.scratch or wanted == "scratch":
        raise ConfigurationError(f"{wanted} is made here from training reports: there is nothing to fetch")
    preset = known.pretrained.get(wanted)
    if preset is None and "/" not in wanted:
        raise ConfigurationError(
            f"{wanted!r} is neither a preset nor a hub name such as owner/model"
            f"{nearest(wanted, known.pretrained)}"
        )
    hub = wanted if preset is None else preset.hub
    revision = revision or (preset.revision if preset else None)
    if revision is None:
        why = f" ({preset.whose})" if preset and preset.whose else ""
        raise ConfigurationError(
            f"no commit of {hub} is pinned{why}; choose one and give all its digits with --revision: "
            f"{where_commits_are(hub)}"
        )
    name = name or (wanted if preset else hub.rpartition("/")[2].lower())
    folder = (to or Path(name)).absolute()
    licence = preset.licence if preset else None
    facts = fetch(hub, revision, folder, name=name, licence=licence, endpoint=endpoint)
    return Fetched(
        name=name,
        hub=hub,
        revision=revision,
        licence=licence,
        family=facts.family,
        window=facts.window,
        parameters=facts.parameters,
        folder=str(folder),
        next=f'carry the folder to the machine laudos runs on; there: "laudos encoders import {folder.name}"',
    )


def import_encoder(settings: Settings, folder: Path, name: str | None) -> Imported:
    """Take a fetched folder in, under its own name or another. Raises MlError with what is wrong."""
    facts, new = take_in(folder, encoders_folder(settings), name)
    name = name or facts.name
    return Imported(name, new, facts.hub, facts.revision, str(encoders_folder(settings) / name))


def encoder_folder(settings: Settings, name: str) -> Path:
    """Of an imported one, every byte of it checked. Raises ConfigurationError where it is not there."""
    folder = encoders_folder(settings) / name
    if not folder.is_dir():
        raise ConfigurationError(
            f'the encoder {name!r} is not on this machine; where there is a network: "laudos encoders fetch '
            f'{name}", then here: "laudos encoders import {name}"'
        )
    checked(folder)
    return folder


def content_sha(settings: Settings, asked: ClassifierSettings) -> str | None:
    """sha256 over a classifier's encoder that lies in a folder or was imported; None for one that is made
    here, of a pinned commit, or not there."""
    if asked.encoder == "scratch" or asked.revision:
        return None
    folder = encoders_folder(settings) / asked.encoder  # of an absolute path, that path
    if not folder.is_dir():
        return None
    parts = (path for path in sorted(folder.iterdir()) if path.suffix in DECISIVE and path.is_file())
    told = [f"{path.name} {sha_of(path)}\n" for path in parts]
    return hashlib.sha256("".join(told).encode()).hexdigest()


def named(settings: Settings) -> Sequence[str]:
    """Those that a classifier names: neither made here, nor a folder elsewhere, nor on a hub."""
    asked = settings.classifiers.values()
    names = {one.encoder for one in asked if not one.revision and not Path(one.encoder).is_absolute()}
    return sorted(names - {"scratch"})


def _pretrained(
    settings: Settings, name: str, one: Pretrained, found: dict[str, EncoderFacts | None]
) -> EncoderLine:
    facts = found.get(name)
    return EncoderLine(
        name=name,
        on_disk="no" if name not in found else "altered" if facts is None else "yes",
        used_by=_users(settings, name),
        choose=one.choose,
        language=one.language,
        parameters=one.parameters,
        window=one.window,
        licence=one.licence,
        download_mb=one.download_mb,
        hub=one.hub,
        revision=facts.revision if facts else one.revision,
        weights=one.weights,
        whose=one.whose,
    )


def _imported(settings: Settings, name: str, facts: EncoderFacts | None) -> EncoderLine:
    if facts is None:
        return EncoderLine(name, "altered", _users(settings, name), "not before it was imported again")
    return EncoderLine(
        name=name,
        on_disk="yes",
        used_by=_users(settings, name),
        choose="your own choice",
        parameters=round(facts.parameters / MILLION),
        window=facts.window,
        licence=facts.licence,
        hub=facts.hub,
        revision=facts.revision,
        weights="safetensors",
    )


def _scratch(settings: Settings, name: str, one: Scratch) -> EncoderLine:
    size = (one.hidden_size, one.layers, one.attention_heads)
    users = tuple(
        classifier
        for classifier, asked in settings.classifiers.items()
        if asked.encoder == "scratch"
        and size == (asked.training.hidden_size, asked.training.layers, asked.training.attention_heads)
    )
    return EncoderLine(
        name=name,
        on_disk="made here",
        used_by=users,
        choose=one.choose,
        language="your own reports",
        layers=one.layers,
        hidden_size=one.hidden_size,
    )


def _users(settings: Settings, name: str) -> tuple[str, ...]:
    return tuple(key for key, one in settings.classifiers.items() if one.encoder == name)
