"""A model folder: plain Hugging Face files, laudos.json, and a manifest that proves it whole.

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json   what any pipeline loads
    laudos.json  familiarity.safetensors  linear_reader.safetensors         what laudos adds
    MANIFEST.json                                                          sha256 and size of each file

A folder appears under its name whole or not at all: everything is written and fsynced in a hidden
folder beside it, which is then renamed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.disk import room_in
from tasks.ml.errors import BrokenArtifact
from tasks.ml.faultpoints import reach
from tasks.ml.network.calibration import Pool
from tasks.ml.network.conformal import Thresholds
from tasks.ml.network.familiarity import Familiarity, Limit
from tasks.ml.network.head import Head, fold_in
from tasks.ml.network.linear_reader import LinearReader
from tasks.ml.network.published import FACTS as FACTS
from tasks.ml.network.published import WAY_OUT as WAY_OUT
from tasks.ml.network.published import verify as verify
from tasks.ml.quiet import quietly
from tasks.ml.reading.long_reports import AS_EVER, LongReports
from tasks.ml.sealed import MANIFEST as MANIFEST
from tasks.ml.sealed import (
    bring_to_disk,
    fsync,
    open_as,
    read_json,
    remove_leftovers,
    sha_of,
    write_json,
    write_manifest,
)
from tasks.ml.sealed import manifest_sha_of as manifest_sha_of

# 2: a network may read each sentence by itself; a laudos that knows 1 alone would load it and not do so
FORMAT = 2
_NEWER = (
    "familiarity",
    "machine",
    "long_reports",
    "training",
    "pool",
)  # entries that an older laudos.json does not have

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
    long_reports: LongReports = AS_EVER
    # stage -> how its training ended (TrainLog.record); empty: a head, or not told yet then
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pool: Pool | None = None  # of network and linear reader; None: the network answers alone

    def as_json(self) -> dict[str, Any]:
        content = asdict(self)
        content["created_at"] = self.created_at.isoformat()
        content["thresholds"] = self.thresholds.as_json()
        content["long_reports"] = self.long_reports.as_json()
        if not content["long_reports"]:  # as in the folders that were made before there was a choice
            del content["long_reports"]
        if self.pool is None:
            del content["pool"]
        return {"format": FORMAT, **content}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LaudosJson:
        """Raises BrokenArtifact for another format or a missing entry."""
        if content.get("format") not in (1, FORMAT):
            raise BrokenArtifact(
                f"{FACTS} has format {content.get('format')!r} and this laudos reads 1 to {FORMAT}; "
                "use the laudos version that made the model, or retrain"
            )
        try:
            known = {name: content[name] for name in cls.__dataclass_fields__ if name not in _NEWER}
            known |= {name: content.get(name, {}) for name in ("machine", "training")}
            known["long_reports"] = LongReports.from_json(content.get("long_reports", {}))
            limit = content.get("familiarity")
            known["familiarity"] = None if limit is None else Limit(**limit)
            known["pool"] = None if content.get("pool") is None else Pool(**content["pool"])
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
    beside: LinearReader | None = None,
) -> Published:
    """Write `folder_root/name`; `head`, where given, is first folded into the model.

    Where the name is taken it is `name-2`, `name-3`...: an existing folder is never replaced.

    `beside`: what `facts.pool` is of; without it the network answers alone, whatever the facts say.

    A kill at any moment leaves the whole folder or none; what a killed one left hidden beside it is
    removed by a later publish. Raises BrokenArtifact, or DiskFull with nothing left behind.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        raise BrokenArtifact("a model's name is made of at most 100 letters, digits, '.', '_' and '-'")
    if head is not None:
        fold_in(model, head)
    with room_in(folder_root):
        folder_root.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder_root))
    remove_leftovers(folder_root, partial)
    try:
        with quietly(), room_in(folder_root):
            model.save_pretrained(partial)
            reach("publish.weights.written")
            tokenizer.save_pretrained(partial)
            if familiarity is not None:
                familiarity.save(partial)
            if beside is not None:
                beside.save(partial)
            # facts that were another folder's may name what is not in this one
            limit = None if familiarity is None else familiarity.limit
            pool = None if beside is None else facts.pool
            write_json(partial / FACTS, replace(facts, familiarity=limit, pool=pool).as_json())
            write_manifest(partial)
            open_as(partial, like=partial / MANIFEST)  # the scorer may be another user
            reach("publish.manifest.written")
            bring_to_disk(partial)
        fsync(partial)
        reach("publish.fsynced")
        manifest_sha = sha_of(partial / MANIFEST)
        target = _under_a_free_name(partial, folder_root / name)
        reach("publish.renamed")
    except OSError as error:
        raise BrokenArtifact(
            f"{folder_root / name} could not be written ({error.strerror}); nothing was published"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    fsync(folder_root)
    return Published(target, manifest_sha)


def _under_a_free_name(partial: Path, wanted: Path) -> Path:
    """Rename to `wanted`, or to the first of wanted-2, wanted-3... that is free; which it became.

    A restored database gives numbers of runs out again, whose folders may stand there without a row.
    """
    target, number = wanted, 1
    while True:
        if not target.exists():
            try:
                os.rename(partial, target)
                return target
            except OSError as error:
                # somebody else published a folder of that name since we looked
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
        number += 1
        target = wanted.with_name(f"{wanted.name}-{number}")


def read_facts(folder: Path) -> LaudosJson:
    """laudos.json of a verified folder. Raises BrokenArtifact."""
    return LaudosJson.from_json(read_json(folder / FACTS))
