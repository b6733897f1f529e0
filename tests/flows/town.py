"""A hospital small enough to live through a whole night in seconds, with the demo's own real parts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.demo.demo import RESERVED_SHARE, make_hospital

CLASSIFIER = "malignidade"

_SETTINGS = """\
database = "sqlite:///{folder}/laudos.db"
folder = "{folder}/laudos-data"

[sources.hospital]
url = "sqlite:///{folder}/hospital.db"
table = "laudos"
id = "id"
text = "texto"
updated_at = "atualizado_em"
patient = "paciente"
date = "data_laudo"
labels = {{ malignidade = "resultado" }}

[classifiers.malignidade]
labels = ["benigno", "maligno"]
critical = "maligno"
sensitivity_floor = 0.3
label_values = {{ B = "benigno", M = "maligno" }}
keywords = {{ maligno = ["carcinoma", "neoplasia"], benigno = ["fibroadenoma"] }}
training_labels = ["synthetic", "source"]

[classifiers.malignidade.synthetic]
reports_per_row = 2
reserved_share = {reserved_share}

[classifiers.malignidade.training]
hidden_size = 48
layers = 1
vocabulary = 800
epochs = 4
lessons = 200
window_tokens = 128
stride_tokens = 16
"""


def build(folder: Path, *, patients: int = 30) -> Path:
    """Make the hospital's database and a laudos.toml for it in `folder`; returns the toml's path."""
    make_hospital(folder / "hospital.db", seed=0, now=datetime.now(UTC), patients=patients)
    path = folder / "laudos.toml"
    path.write_text(_SETTINGS.format(folder=folder, reserved_share=RESERVED_SHARE), encoding="utf-8")
    return path


def write(hospital: Path, statement: str, *values: Any) -> int:
    """Change the hospital's table, as its own system would; returns how many rows."""
    with closing(sqlite3.connect(hospital)) as c, c:
        return c.execute(statement, values).rowcount
