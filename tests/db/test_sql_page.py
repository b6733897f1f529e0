"""docs/sql.md is true: its list of views is the code's, and every block of it runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from db import roles, schema
from db.describe import describe_views
from db.engine import open_engine, reading, writing
from db.roles import Roles
from db.views import VIEWS
from tests.db.history import TONIGHT, History, at, two_days

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", PAGE)


def a_history_to_ask(engine: Engine) -> History:
    history = two_days(engine)
    history.say(history.versions["his", "L3", 1], "paaf", "benigno", at(5, TONIGHT))
    # back at the model of yesterday, which left something to a person
    history.crown("paaf", 1, at(6, TONIGHT), "rolled_back")
    for step, name, loss in ((9, "loss", 0.7), (10, "loss", 0.6), (10, "held_out_log_loss", 0.65)):
        history.measure(1, name, loss, at(6, TONIGHT), population="training", slice=f"step={step}")
    return history


def test_the_number_of_views_is_told_as_it_is() -> None:
    words = {7: "seven", 8: "eight", 9: "nine", 10: "ten"}
    assert set(re.findall(r"(\w+) views", PAGE)) >= {words[len(VIEWS)]}
    assert not set(re.findall(r"(\w+) views", PAGE)) & (set(words.values()) - {words[len(VIEWS)]})


def test_the_list_of_views_is_what_the_views_say() -> None:
    begin = "<!-- views: begin (python -m db.describe views) -->\n"
    listed = PAGE.split(begin)[1].split("<!-- views: end -->")[0]
    assert listed.strip() == describe_views().strip(), "run: python -m db.describe views"


def test_the_questions_are_answered_on_both_databases(engine: Engine) -> None:
    history = a_history_to_ask(engine)
    said, agreed, measured, learnt = (history.rows(sql) for sql in blocks("sql"))
    assert [(source, label, reports) for source, label, reports, _ in said] == [
        ("clinica", "benigno", 1),
        ("clinica", "maligno", 1),
        ("his", "maligno", 1),
    ]
    assert [float(share) for *_, share in said] == [0.0, 1.0, 1.0]
    assert agreed == [
        ("birads", 2, 'não "visto"', "4", 1),
        ("paaf", 1, "maligno", "benigno", 1),
        ("paaf", 3, "maligno", "benigno", 1),
    ]
    assert [(row[0], row[1], row[6]) for row in measured] == [("paaf", 1, 0.8)]
    assert learnt == [
        (1, "training", 9, "loss", 0.7),
        (1, "training", 10, "loss", 0.6),
        (1, "training", 10, "held_out_log_loss", 0.65),
    ]


@pytest.mark.postgres
def test_the_reader_may_ask_all_of_them(
    named: Roles, postgres_url: str, become: Callable[[str], Engine]
) -> None:
    schema.upgrade(postgres_url)
    owner = open_engine(postgres_url)
    a_history_to_ask(owner)
    with writing(owner) as c:
        roles.create(c, named)
    owner.dispose()
    with reading(become(named.reader)) as c:
        assert all(c.execute(text(sql)).all() for sql in blocks("sql"))


def test_the_blocks_for_pandas_run_on_the_embedded_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///laudos-data/laudos.db"
    schema.upgrade(url)
    engine = open_engine(url)
    a_history_to_ask(engine)
    engine.dispose()
    found: dict[str, Any] = {}
    for block in blocks("python"):
        exec(compile(block, "docs/sql.md", "exec"), found)
    found["engine"].dispose()
    # his/L3 was answered by a person: one report is left
    assert found["oldest"].index.tolist() == ["clinica"]
    assert str(found["queue"]["taken_in_at"].dtype).startswith("datetime64")
    assert found["shares"].loc[("paaf", "clinica"), "maligno"] == 1
    assert found["unsure"]["decision"].eq("review").all()
    assert len(found["unsure"]) == 4
    assert found["each"]["maligno"].between(0, 1).sum() == 9
