"""The demo's hospital: a database that is not ours, as a laboratory system might keep it.

Its one table asks nothing of its rows: ids may be missing or double, and a text column may hold
bytes. That is how such tables are found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

from db.errors import ConfigurationError

_CREATE = """
CREATE TABLE laudos (
    id            TEXT,
    texto         TEXT,
    atualizado_em TIMESTAMP,
    paciente      TEXT,
    data_laudo    DATE,
    resultado     TEXT
);
CREATE INDEX laudos_atualizado_em ON laudos (atualizado_em, id);
"""


@dataclass(frozen=True)
class HospitalRow:
    """A row as it stands there; moments are local time without a zone, `YYYY-MM-DD HH:MM:SS`."""

    id: str | None
    texto: str | bytes | None
    atualizado_em: str
    paciente: str
    data_laudo: str
    resultado: str | None


def create(path: Path, rows: Iterable[HospitalRow]) -> int:
    """Make the database with these rows; returns how many. Raises ConfigurationError where a file stands."""
    if path.exists():
        raise ConfigurationError(f"{path} exists and was left alone; remove it or name another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    # built beside and then renamed: a demo stopped half-way leaves no half a hospital
    unfinished = path.with_name(path.name + ".part")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as c, c:
        c.executescript(_CREATE)
        count = c.executemany("INSERT INTO laudos VALUES (?, ?, ?, ?, ?, ?)", map(astuple, rows)).rowcount
    unfinished.rename(path)
    return count
