"""A folder that is there whole or not at all; a full disk, told as one: the libraries that write models each
say it in words of their own."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.ml.errors import DiskFull, MlError

# no space, no quota, or a file larger than this user may write
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
PROBE_BYTES = 1 << 20


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """What fails inside because the disk of `folder` takes no more leaves as DiskFull; the rest as it is."""
    try:
        yield
    except MlError:
        raise
    except Exception as error:
        # safetensors raises an error of its own, torch a RuntimeError about positions: the disk is asked
        if not (is_full(error) or _takes_no_more(folder)):
            raise
        raise DiskFull(
            f"the disk that holds {folder} is full; free some space and run again, nothing was lost"
        ) from None


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Where to write a new folder, its owner's alone; it bears its name when the block ends well.

    Raises FileExistsError where `folder` is there already.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists already")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
    partial.mkdir(mode=0o700, parents=True)
    try:
        yield partial
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_full(error: BaseException) -> bool:
    """Whether the operating system says so itself."""
    return isinstance(error, OSError) and error.errno in FULL


def _takes_no_more(folder: Path) -> bool:
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
    except OSError as error:
        return is_full(error)
    return False
