"""A disk that fills up: a small tmpfs where this user may mount one, else limits that say the same."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from db import full_disk
from tasks import model_folders
from tasks.database import open_database
from tasks.settings.settings import Settings
from tasks.torture.children import Work
from tasks.torture.patching import replace
from tasks.torture.scratch import Scratch
from tasks.training import train

SIZE_MIB = 96
# what a mount is of, and the process that it was made for: how one that was left behind is known
SOURCE = "laudos-torture-{pid}"
KIB = 1024
PAGE_KIB = 4  # of SQLite
BLOCK = bytes(64 * KIB)


@dataclass(frozen=True)
class Limit:
    """What a process may write where no disk can be filled; None: whatever it likes."""

    room_kib: int | None = None


def within(settings: Settings, tell: Connection, limit: Limit, work: Work, *arguments: Any) -> None:
    """Any work, under the limit."""
    with ExitStack() as held:
        if limit.room_kib is not None:
            engine = open_database(settings)
            if engine.dialect.name == "sqlite":
                held.enter_context(full_disk.pages_limited(engine, limit.room_kib // PAGE_KIB))
            for module, name in ((train, "publish"), (model_folders, "write_atomically")):
                replace(module, name, _with_small_files(limit.room_kib * KIB))
        work(settings, tell, *arguments)


def _with_small_files(most: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The kernel refuses to let any file grow larger, as it does where a disk or a quota is full."""

    def limited(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_within(*args: Any, **more: Any) -> Any:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
            try:
                return write(*args, **more)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

        return write_within

    return limited


@dataclass(frozen=True)
class Disk:
    """What a scratch world lies on. Without `mounts` a full disk is emulated."""

    world: Scratch
    mounts: tuple[Path, ...]

    @contextmanager
    def full(self, room_kib: int, table: str | None) -> Iterator[Limit]:
        """So much room is left; afterwards all of it again. `table`: what is written to it, if anything."""
        with ExitStack() as held:
            for mount in self.mounts:
                ballast = mount / "ballast"
                held.callback(ballast.unlink, missing_ok=True)
                _fill(ballast, room_kib * KIB)
            if self.mounts:
                yield Limit()
                return
            if self.world.server is not None and table is not None:
                held.enter_context(full_disk.inserts_refused(self.world.engine, table))
            yield Limit(room_kib)


@contextmanager
def small_disk(world: Scratch) -> Iterator[Disk]:
    """The world's folder, and its database on PostgreSQL, lie on a small disk until the end."""
    unmount_abandoned()
    with ExitStack() as held:
        _close(world)
        if not _mounted(held, world.folder):
            yield Disk(world, ())
            return
        mounts = [world.folder]
        if world.server is not None:
            place = world.server.home / f"space-{world.folder.name}"
            place.mkdir()
            held.callback(shutil.rmtree, place, ignore_errors=True)
            _mounted(held, place)
            if world.server.user is not None:
                shutil.chown(place, world.server.user)
            inside = place / "tablespace"
            inside.mkdir()
            if world.server.user is not None:
                shutil.chown(inside, world.server.user)
            held.enter_context(full_disk.moved(world.engine, inside))
            mounts.append(place)
        held.callback(_close, world)
        yield Disk(world, tuple(mounts))


def _close(world: Scratch) -> None:
    """No file of the world is open in this process any more."""
    for engine in (world.engine, world.hospital.engine, open_database(world.settings)):
        engine.dispose()


def _mounted(held: ExitStack, folder: Path) -> bool:
    """Whether `folder` became a small disk of its own; what lies there lies there then and afterwards."""
    beside = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="laudos-beside-")))
    shutil.copytree(folder, beside, dirs_exist_ok=True)
    source = SOURCE.format(pid=os.getpid())
    asked = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", source, str(folder)]
    if os.geteuid() != 0 or subprocess.run(asked, capture_output=True).returncode != 0:
        return False

    def unmount() -> None:
        shutil.rmtree(beside)
        shutil.copytree(folder, beside)
        _unmount(folder)
        shutil.copytree(beside, folder, dirs_exist_ok=True)

    held.callback(unmount)
    shutil.copytree(beside, folder, dirs_exist_ok=True)
    return True


def unmount_abandoned() -> None:
    """Take away the small disks of scenarios whose process was killed: its number has no process any more."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return  # not on Linux, where none was mounted
    for source, place, *_ in map(str.split, mounts):
        found = re.fullmatch(SOURCE.format(pid=r"(\d+)"), source)
        if found is None or Path("/proc", found[1]).exists():
            continue
        folder = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place))
        with suppress(subprocess.CalledProcessError):  # another user's
            _unmount(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=True)


def _fill(ballast: Path, room: int) -> None:
    """A file that leaves so many bytes of its disk."""
    with ballast.open("wb", buffering=0) as file:
        written = 0
        try:
            while True:
                written += file.write(BLOCK)
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise
        file.truncate(max(0, written - room))
