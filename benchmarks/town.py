"""A hospital's table of any size, the same every time, on either database; written page by page."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import (
    Column,
    DateTime,
    Engine,
    Index,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    insert,
)

Values = tuple[str, str, datetime, str, str, str | None]

TEXT_BYTES = 1700
LABELLED = 10  # one in ten
PAGE_ROWS = 10_000
BEGIN = datetime(2020, 1, 1)
table = Table(
    "laudos",
    MetaData(),
    Column("id", String(32), primary_key=True),
    Column("texto", Text, nullable=False),
    Column("atualizado_em", DateTime, nullable=False),
    Column("paciente", String(32), nullable=False),
    Column("data_laudo", String(10), nullable=False),
    Column("resultado", String(1)),
    Index("laudos_atualizado_em_id", "atualizado_em", "id"),
)
PHRASES = (
    "paciente do sexo feminino", "nódulo palpável de limites imprecisos", "quadrante superior externo",
    "da mama esquerda", "punção aspirativa por agulha fina", "esfregaços hipercelulares", "núcleos regulares",
    "cromatina finamente granular", "citoplasma escasso", "fundo hemorrágico", "ausência de células atípicas",
    "recomenda-se correlação clínica e radiológica", "imuno-histoquímica negativa", "receptor de estrogênio",
    "margens cirúrgicas livres", "alterações fibrocísticas dos ductos", "sem sinais de malignidade",
    "lesão medindo 12 mm", "3,5 cm até a margem", "em 40% das células", "grau histológico II", "à direita",
    "não há evidência de infiltração", "linfonodo axilar sem alterações", "biópsia em três fragmentos",
)  # fmt: skip


def rows(reports: int) -> Iterator[Values]:
    """Reports of about 1.7 kB in eleven to sixteen lines, three a patient, one in ten labelled."""
    rng = random.Random(20260302)
    sentences = [" ".join(rng.choices(PHRASES, k=rng.randint(4, 7))).capitalize() for _ in range(5000)]
    for number in range(reports):
        lines, left = [f"LAUDO CITOPATOLÓGICO nº {number}"], TEXT_BYTES
        while left > 90:
            lines.append(sentences[int(rng.random() * 5000)] + ".")
            left -= len(lines[-1]) + 5
        moment = BEGIN + timedelta(seconds=30 * number)
        yield (
            f"L{number:09}",
            "\n".join(lines),
            moment,
            f"P{number // 3:08}",
            moment.date().isoformat(),
            None if number % LABELLED else "BM"[number % 3 == 0],
        )


def fill(url: str, reports: int) -> None:
    """Make the table with so many reports; memory stays that of a page."""
    engine = create_engine(url)
    table.create(engine)
    names = [column.name for column in table.columns]
    every = rows(reports)
    while page := list(islice(every, PAGE_ROWS)):
        if engine.dialect.name == "postgresql":
            _copy(engine, page)
        else:
            with engine.begin() as c:
                c.execute(insert(table), [dict(zip(names, one, strict=True)) for one in page])
    engine.dispose()


def _copy(engine: Engine, page: list[Values]) -> None:
    driver = engine.raw_connection()
    with driver.cursor() as cursor, cursor.copy("COPY laudos FROM STDIN") as copy:  # type: ignore[attr-defined]
        for one in page:
            copy.write_row(one)
    driver.commit()
    driver.close()
