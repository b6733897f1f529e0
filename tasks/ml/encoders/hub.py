"""Fetch an encoder from a hub at a pinned commit: safetensors, configuration and tokenizer, nothing else.

Every file is held against what the hub says of that commit: its size, and its sha256 (large files) or
git's sha1 (small ones). What does not match is thrown away. A folder appears under its name only when all
of it matched and transformers could load it; until then the files lie in a hidden folder beside it, where
the next attempt finds those that are whole. Within one attempt a broken connection is taken up where it
broke off (huggingface_hub asks for the rest of the range).
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling

from tasks.ml.disk import is_full, room_in
from tasks.ml.encoders.folder import EncoderFacts, facts_of, refuse_bad_name, seal
from tasks.ml.encoders.presets import REVISION
from tasks.ml.errors import UnfitEncoder
from tasks.ml.pickles import PICKLES
from tasks.ml.sealed import files_in, fsync, sha_of

WEIGHTS: Final = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
BESIDE: Final = {
    "config.json", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model",
}  # fmt: skip
# the folder in which huggingface_hub keeps its books beside what it downloads
BOOKS: Final = ".cache"


def fetch(
    hub: str,
    revision: str,
    to: Path,
    *,
    name: str,
    licence: str | None = None,
    endpoint: str | None = None,
) -> EncoderFacts:
    """Download to the sealed folder `to`, which must not be there yet; what it holds.

    endpoint: address of the hub, default huggingface_hub's own. Raises UnfitEncoder, BrokenArtifact or
    DiskFull; what is whole of an attempt that failed is kept for the next.
    """
    refuse_bad_name(name)
    if not re.fullmatch(REVISION, revision):
        raise UnfitEncoder(f"{hub}: give the revision with all its 40 hex digits; {where_commits_are(hub)}")
    if to.exists():
        raise UnfitEncoder(f'{to} is there already and is never replaced; name another folder with "--to"')
    api = HfApi(endpoint=endpoint, library_name="laudos")
    wanted = _wanted(hub, _files_at(api, hub, revision))
    partial = to.parent / f".partial-{to.name}-{revision[:12]}"
    with room_in(to.parent):
        partial.mkdir(parents=True, exist_ok=True)
        for file in wanted:
            _download(api, hub, revision, file, partial)
        shutil.rmtree(partial / BOOKS, ignore_errors=True)
        for stranger in set(files_in(partial)) - {file.rfilename for file in wanted}:
            (partial / stranger).unlink()  # it was not asked for, so nothing vouches for it
        facts = facts_of(partial, name, hub, revision, licence)
        seal(partial, facts)
        partial.rename(to)
        fsync(to.parent)
    return facts


def _files_at(api: HfApi, hub: str, revision: str) -> Sequence[RepoSibling]:
    """What the hub has at that commit, with sizes and digests."""
    with _told_plainly(hub, revision, "its list of files"):
        info = api.model_info(hub, revision=revision, files_metadata=True)
    if info.sha != revision:
        raise UnfitEncoder(f"{hub}: the hub answered with commit {info.sha}, not with {revision}")
    return info.siblings or []


def _wanted(hub: str, files: Sequence[RepoSibling]) -> Sequence[RepoSibling]:
    """The few that laudos reads, small ones first. Raises UnfitEncoder where there are no safetensors."""
    names = [file.rfilename for file in files]
    if not any(WEIGHTS.fullmatch(name) for name in names):
        pickles = [name for name in names if any(fnmatch(name, pattern) for pattern in PICKLES)]
        if not pickles:
            raise UnfitEncoder(f"{hub} holds no model.safetensors at this commit; {where_commits_are(hub)}")
        raise UnfitEncoder(
            f"{hub} holds only {', '.join(pickles[:3])} at this commit: formats that can run code when read, "
            "which laudos never does. Either look among its pull requests for one that adds "
            "model.safetensors (the hub's own converter opens them) and give that commit with --revision; "
            "or convert it once, on a machine you can lose: AutoModel.from_pretrained(name).save_pretrained("
            "folder), with its tokenizer, and name that folder as `encoder`"
        )
    if "config.json" not in names:
        raise UnfitEncoder(f"{hub} holds no config.json at this commit: no model of transformers")
    wanted = [file for file in files if file.rfilename in BESIDE or WEIGHTS.fullmatch(file.rfilename)]
    return sorted(wanted, key=lambda file: file.size or 0)


def _download(api: HfApi, hub: str, revision: str, file: RepoSibling, partial: Path) -> None:
    """One file, whole and as the hub describes it. Raises UnfitEncoder; a wrong one is removed."""
    name = file.rfilename
    if file.lfs is None and file.blob_id is None:
        raise UnfitEncoder(f"{hub}: the hub states no digest of {name}, so that nothing could be checked")
    with _told_plainly(hub, revision, name):
        api.hf_hub_download(hub, name, revision=revision, local_dir=partial)
    path = partial / name
    if not _is_what_was_asked(path, file):
        path.unlink()
        raise UnfitEncoder(
            f"{hub}: {name} came with another content than the hub states for this commit, and was thrown "
            "away; fetch again, and if it happens once more ask who stands between you and the hub"
        )


def _is_what_was_asked(path: Path, file: RepoSibling) -> bool:
    if file.lfs is not None:
        return path.stat().st_size == file.lfs.size and sha_of(path) == file.lfs.sha256
    content = path.read_bytes()  # only small files are outside LFS
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id


@contextmanager
def _told_plainly(hub: str, revision: str, what: str) -> Iterator[None]:
    """Whatever huggingface_hub raises inside leaves as UnfitEncoder, with what to do about it."""
    try:
        yield
    except OfflineModeIsEnabled:
        raise UnfitEncoder("HF_HUB_OFFLINE is set, so no hub may be asked; fetch without it") from None
    except RevisionNotFoundError:
        raise UnfitEncoder(f"{hub} has no commit {revision}; {where_commits_are(hub)}") from None
    except RepositoryNotFoundError:  # its subclass for gated ones too
        raise UnfitEncoder(
            f"the hub knows no {hub}, or shows it only to those who accepted its terms: then HF_TOKEN must "
            "hold their token"
        ) from None
    except Exception as error:  # of httpx, of the hub, of the operating system
        if is_full(error):
            raise
        raise UnfitEncoder(
            f"{hub}: {what} did not arrive ({type(error).__name__}); fetch again, files that are whole are "
            "not asked for twice"
        ) from None


def where_commits_are(hub: str) -> str:
    """A sentence for a person who must choose one."""
    page = f"https://huggingface.co/{hub}"
    return f"{page}/commits/main lists them, {page}/discussions those of pull requests"
