"""Where a scenario runs: a folder, a migrated database and a hospital's, all made for it and taken away.

Nothing here reads the user's laudos.toml or variables, so no scenario can reach a real database.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db import schema
from db.engine import open_engine
from db.trial import Hospital
from tasks.settings.settings import Settings, heeding_only, prepare_environment
from tasks.torture import children
from tasks.torture.children import Child, Work
from tasks.torture.scenario import Control, Database, Violation
from tasks.torture.server import Server

SOURCE = "his"
CLASSIFIER = "achado"


@dataclass
class Scratch:
    """A scenario's own world. `server` runs both of its databases on PostgreSQL, and is None on SQLite."""

    database: Database
    folder: Path
    config: Path
    settings: Settings
    engine: Engine
    hospital: Hospital
    server: Server | None
    rng: random.Random
    switched_off: tuple[Callable[[], None], ...] = ()
    progress: Callable[[str], None] = lambda _: None
    violations: list[Violation] = field(default_factory=list)
    started: list[Child] = field(default_factory=list)

    def start(self, work: Work, *arguments: Any) -> Child:
        """Start `work(settings, tell, *arguments)` in a process of its own, the control's switch thrown."""
        return self._start(work, arguments, self.switched_off)

    def beside(self, work: Work, *arguments: Any) -> Child:
        """The same for what is no part of laudos: a hospital, another program. No control applies to it."""
        return self._start(work, arguments, ())

    def _start(
        self, work: Work, arguments: Sequence[Any], switched_off: Sequence[Callable[[], None]]
    ) -> Child:
        child = children.start(self.config, work, arguments, switched_off)
        self.started = [one for one in self.started if one.alive]
        self.started.append(child)
        return child

    def run(
        self, work: Work, *arguments: Any, allowed: Sequence[str] = (), check: str = "unexpected_error"
    ) -> Child:
        """`start`, and wait for its end. An error whose type is not `allowed` violates `check`."""
        child = self.start(work, *arguments)
        self.expect(child, allowed, check)
        return child

    def expect(self, child: Child, allowed: Sequence[str] = (), check: str = "unexpected_error") -> None:
        """Wait for a process's end; it must have ended by itself, well or with an `allowed` error."""
        ended = child.join()
        if ended is None:
            self.complain("unexpected_end", "a process ended without a word")
        elif ended.error is not None and ended.error not in allowed:
            self.complain(check, f"{ended.error}: {ended.message}")

    def stop(self, child: Child) -> None:
        """Kill what was to go on until now; that it ended by itself is a violation."""
        if not child.kill():
            self.expect(child)
            self.complain("unexpected_end", "a process ended that was to go on")

    def complain(self, check: str, found: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(check, found))

    def configure(self, **keys: Any) -> None:
        """Write laudos.toml anew with these keys beside or instead of the usual ones, and load it."""
        given = {**_usual(self.engine.url.render_as_string(False), self.hospital.url, self.folder), **keys}
        self.settings = _configured(self.config, given)


@contextmanager
def scratch(
    database: Database,
    server: Server | None,
    seed: str,
    control: Control | None,
    progress: Callable[[str], None],
) -> Iterator[Scratch]:
    """A fresh world; everything in it is gone afterwards, its processes first."""
    with ExitStack() as held:
        folder = Path(tempfile.mkdtemp(prefix="laudos-torture-"))
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        ours, theirs = (_new_database(held, folder, server, name) for name in ("laudos", "hospital"))
        config = folder / "laudos.toml"
        held.enter_context(heeding_only(config))
        settings = _configured(config, _usual(ours, theirs, folder))
        prepare_environment(settings)
        schema.upgrade(ours)
        engine = open_engine(ours)
        held.callback(engine.dispose)
        hospital = Hospital.create(theirs)
        held.callback(hospital.engine.dispose)
        rng = random.Random(seed)
        off = (control.switch_off,) if control else ()
        world = Scratch(database, folder, config, settings, engine, hospital, server, rng, off, progress)
        try:
            yield world
        finally:
            for child in world.started:
                if child.alive:
                    child.kill()


def _new_database(held: ExitStack, folder: Path, server: Server | None, name: str) -> str:
    if server is None:
        return f"sqlite:///{folder}/{name}.db"
    url = server.new_database()
    held.callback(server.drop, url)
    return url


def _usual(ours: str, theirs: str, folder: Path) -> dict[str, Any]:
    """laudos.toml of a scratch world: pages so small that a kill finds every one of their phases."""
    return {
        "database": ours,
        "folder": str(folder / "data"),
        "timezone": "UTC",
        "sources": {SOURCE: source_keys(theirs)},
        "classifiers": {CLASSIFIER: {"labels": ["benigno", "maligno"], "critical": "maligno"}},
    }


def source_keys(url: str, **more: Any) -> dict[str, Any]:
    """How laudos.toml describes the trial hospital's table."""
    return {
        "url": url,
        "table": "laudos",
        "id": "id",
        "text": "texto",
        "updated_at": "atualizado_em",
        "patient": "paciente",
        "date": "data_laudo",
        "labels": {CLASSIFIER: "resultado"},
        "page_rows": 7,
        **more,
    }


def _configured(config: Path, keys: Mapping[str, Any]) -> Settings:
    config.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in keys.items()), encoding="utf-8")
    return Settings.load()


def _toml(value: Any) -> str:
    """A value in TOML; tables inline, None left out. Strings and numbers are written as JSON writes them."""
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items() if inner is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
