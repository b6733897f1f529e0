"""Real pathology reports, not ours, through the real commands: taken in, learnt from, answered."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from benchmarks.corpora import QUESTIONS, Missing, Rows, corpus, encoder_folder, laudos, measure

LIMIT = 60
TYPE = {"type": QUESTIONS["type"]}


@pytest.fixture(scope="module")
def reports() -> tuple[Rows, Rows]:
    try:
        encoder_folder()
        return corpus(LIMIT)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("prefect_harness")
def test_real_reports_are_taken_in_learnt_from_and_every_one_of_them_answered(
    tmp_path: Path, reports: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    # one server for all of the commands
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    figures = measure(tmp_path, *reports, TYPE)  # a report without an answer is a KeyError in there
    assert figures["tcga_type_macro_f1_frozen"].value > 0.5
    assert figures["tcga_type_macro_f1_frozen"].n == LIMIT
    with closing(sqlite3.connect(tmp_path / "laudos.db")) as c:
        counts = "SELECT read, new, updated, unchanged, quarantined FROM run WHERE kind = 'ingest'"
        assert c.execute(counts).fetchall() == [(2 * LIMIT, 2 * LIMIT, 0, 0, 0)]
        assert c.execute("SELECT COUNT(*) FROM prediction").fetchone() == (2 * LIMIT,)
    assert all(one["ok"] for one in laudos(tmp_path, "doctor"))
