"""A hospital to try laudos on: reports written from specimens that no training ever sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.random import Generator as Rng

from db import hospital
from db.hospital import HospitalRow
from tasks.demo.mishaps import MISHAPS
from tasks.ml.splits import is_reserved, unit_interval
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.reports import SyntheticReport, synthesize

EXAM = "paaf"
RESERVED_SHARE = 0.3
REPORTS_PER_PATIENT = 14
KNOWN_SHARE = 0.30  # of the reports bear their result
AMENDED_SHARE = 0.03  # carry an addendum
HISTORY_DAYS = 700
ZONE = ZoneInfo("America/Sao_Paulo")

_RESULTS = {"benigno": "B", "maligno": "M"}
_AMENDMENT = "\nAdendo: lâminas revistas em reunião; descrição mantida."


@dataclass(frozen=True)
class HospitalFacts:
    """What was made. `broken` are rows with something wrong, repairable or not."""

    path: Path
    rows: int
    patients: int
    broken: int
    with_result: int


def make_hospital(path: Path, *, seed: int, now: datetime, patients: int | None = None) -> HospitalFacts:
    """Write the hospital's database; `patients` limits it for a quick try. Raises ConfigurationError.

    One patient is one reserved WDBC row, so the same seed that trained a model cannot have shown it
    any of them.
    """
    rng = np.random.default_rng([seed, 1])
    sound = list(_sound_rows(seed, now, patients, rng))
    damaged = list(_damaged_rows(sound, now, rng))
    rows = sound + damaged
    count = hospital.create(path, rows)
    return HospitalFacts(
        path,
        rows=count,
        patients=len({row.paciente for row in rows}),
        broken=len(damaged),
        with_result=sum(row.resultado is not None for row in rows),
    )


def write_demo_settings(folder: Path) -> Path:
    """Write the demo's laudos.toml into `folder`, unless one stands there; returns its path."""
    path = folder / "laudos.toml"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        home = folder.absolute()
        content = _SETTINGS.format(
            database=json.dumps(f"sqlite:///{home / 'laudos.db'}"),
            folder=json.dumps(str(home)),
            hospital=json.dumps(f"sqlite:///{home / 'hospital.db'}"),
            reserved_share=RESERVED_SHARE,
        )
        path.write_text(content, encoding="utf-8")
    return path


def _sound_rows(seed: int, now: datetime, patients: int | None, rng: Rng) -> Iterator[HospitalRow]:
    """Reports of reserved specimens, shuffled over two years; results known for a part of them."""
    rows = [row for row in generator(EXAM).rows() if is_reserved(row.key, RESERVED_SHARE)][:patients]
    reports = list(
        synthesize(
            EXAM,
            mode="findings",
            reports_per_row=REPORTS_PER_PATIENT,
            seed=seed + 1_000_003,  # not the seed of the training set: other words for other specimens
            rows=rows,
            reserved_share=RESERVED_SHARE,
        )
    )
    order = np.argsort([rng.random() for _ in reports], kind="stable")
    for number, place in enumerate(order, start=1):
        # in the order of their numbers, and the last one an hour ago
        age = timedelta(days=HISTORY_DAYS * (1 - number / len(reports)), hours=1, minutes=50 * rng.random())
        yield _sound_row(reports[place], f"CIT-{number:06}", now - age, rng)


def _sound_row(report: SyntheticReport, identity: str, at: datetime, rng: Rng) -> HospitalRow:
    text = report.text + (_AMENDMENT if rng.random() < AMENDED_SHARE else "")
    result = _RESULTS[report.label] if rng.random() < KNOWN_SHARE else None
    return HospitalRow(identity, text, _written(at), _patient(report.row_key), _written(at)[:10], result)


def _damaged_rows(sound: list[HospitalRow], now: datetime, rng: Rng) -> Iterator[HospitalRow]:
    """More rows, each a sound one under a number of its own, with which something went wrong."""
    moment = _written(now - timedelta(minutes=59))
    expected = [mishap for mishap in MISHAPS for _ in range(mishap.rows)]
    for number, mishap in enumerate(expected, start=1):
        original = sound[int(rng.random() * len(sound))]
        row = replace(original, id=f"EXT-{number:04}", atualizado_em=moment)
        if mishap.name == "same_id_twice":
            yield row
        yield mishap.damage(row)


def _patient(row_key: str) -> str:
    """A record number, fictitious and fixed for the specimen."""
    return f"P{int(unit_interval(row_key, 'hospital-patient') * 1_000_000):06}"


def _written(moment: datetime) -> str:
    return moment.astimezone(ZONE).strftime("%Y-%m-%d %H:%M:%S")


_SETTINGS = """\
# The demo: one hospital, one question. Your own: laudos init

database = {database}
folder = {folder}
timezone = "America/Sao_Paulo"

[sources.hospital]
url = {hospital}
table = "laudos"
id = "id"
text = "texto"
updated_at = "atualizado_em"
patient = "paciente"
date = "data_laudo"
labels = {{ malignidade = "resultado" }}  # known for a part; used to measure, not to train

[classifiers.malignidade]
labels = ["benigno", "maligno"]
critical = "maligno"
sensitivity_floor = 0.70              # at the interval's lower end: wide, with 17 malignant held out
label_values = {{ B = "benigno", M = "maligno" }}
training_labels = ["synthetic"]

[classifiers.malignidade.keywords]    # the rule that any model must beat
maligno = ["maligno", "maligna", "malignidade", "carcinoma", "neoplasia"]
benigno = ["benigno", "benigna", "fibroadenoma", "ausência de células malignas"]

[classifiers.malignidade.synthetic]
exam = "paaf"
mode = "findings"
reports_per_row = 24
reserved_share = {reserved_share}                  # the hospital's reports were written from these rows

[classifiers.malignidade.training]
epochs = 2.5
lessons = 80000                       # the default is 100,000: here a night must not take long
"""
