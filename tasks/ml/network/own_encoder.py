"""An encoder that was pre-trained here: a plain Hugging Face folder, sealed, and what it was made of.

    config.json  model.safetensors  tokenizer.json ...   what `classifiers.X.encoder` and any pipeline load
    pretraining.json                                     counts, seeds, losses and perplexity; no text
    MANIFEST.json                                        sha256 and size of each file

The weights are the speller's with all that the classifying network has besides, but for its head: whatever
reads either finds its own, and pre-training can go on from the folder with the head that it learnt.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.ml.disk import room_in
from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.features import last_linear
from tasks.ml.network.published import PRETRAINED_WAY_OUT, PRETRAINING
from tasks.ml.quiet import quietly
from tasks.ml.sealed import (
    bring_to_disk,
    fsync,
    open_as,
    remove_leftovers,
    write_json,
    write_manifest,
)

WEIGHTS = "model.safetensors"


def publish_encoder(
    target: Path,
    spelling: PreTrainedModel,
    body: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: Mapping[str, Any],
) -> None:
    """Write `target`, whole or not at all. body: the classifying network of the same family.

    Raises BrokenArtifact where there is a folder of that name or the disk cannot be written, DiskFull.
    """
    if target.exists():
        raise BrokenArtifact(f"{target} exists already and is never replaced. {PRETRAINED_WAY_OUT}")
    root = target.parent
    with room_in(root):
        root.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=root))
    remove_leftovers(root, partial)
    try:
        with quietly(), room_in(root):
            spelling.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
            _add_the_rest(partial / WEIGHTS, body)
            write_json(partial / PRETRAINING, facts)
            write_manifest(partial)
            open_as(partial, like=partial / PRETRAINING)  # whoever trains may be another user
            bring_to_disk(partial)
        fsync(partial)
        os.rename(partial, target)
    except OSError as error:
        raise BrokenArtifact(
            f"{target} could not be written ({error.strerror}); nothing was published"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    fsync(root)


def _add_the_rest(file: Path, body: PreTrainedModel) -> None:
    """What the speller has not: a pooler, say. Only the head is nobody's: it answers one question."""
    weights, head = load_file(file), last_linear(body)[0]
    rest = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in body.state_dict().items()
        if name not in weights and name not in (f"{head}.weight", f"{head}.bias")
    }
    save_file(weights | rest, file, metadata={"format": "pt"})
