"""`laudos synth count` and `laudos synth show`: what an exam's files say, for those who edit them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.app import main
from tasks.ml import synthesis
from tasks.settings.settings import Settings
from tests.test_cli import Ran, one_line

SMALL = Path(__file__).parent / "grammar"
MODULE = """
from pathlib import Path
from tasks.ml.synthesis.exam_paaf import Paaf

def generator():
    return Paaf(Path(__file__).parent / "data" / "little")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exam called little, in the words of the small grammar."""
    (tmp_path / "exam_little.py").write_text(MODULE)
    shutil.copytree(SMALL, tmp_path / "data" / "little")
    monkeypatch.setattr(synthesis, "__path__", [*synthesis.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{synthesis.__name__}.exam_little", raising=False)
    return tmp_path / "data" / "little"


@pytest.fixture
def laudos(
    configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    configure()
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["laudos", "synth", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return run


def test_words_are_counted_by_institution(folder: Path, laudos: Callable[..., Ran]) -> None:
    told = laudos("count", "little", "--json")
    (little,) = json.loads(told.out)
    assert (told.code, little["exam"], little["shared"]) == (0, "little", [])
    assert [one["institution"] for one in little["institutions"]] == ["norte", "sul"]
    assert little["clauses"] == sum(one["realisations"] for one in little["institutions"])
    assert "No two institutions share four words in a row." in laudos("count", "little").out


def test_words_that_two_institutions_share_are_named_and_fail(
    folder: Path, laudos: Callable[..., Ran]
) -> None:
    for file, old in (("norte.yaml", "textura lisa"), ("sul.yaml", "trama delicada")):
        path = folder / file
        path.write_text(path.read_text("utf-8").replace(old, f"{old} e muito bem fina"), "utf-8")
    told = laudos("count", "little")
    assert told.code == 1
    assert "e muito bem fina: norte.yaml, line" in told.out


def test_a_finding_is_read_phrase_by_phrase(folder: Path, laudos: Callable[..., Ran]) -> None:
    told = laudos("show", "little", "--finding", "tamanho", "--level", "pequeno", "--institution", "norte")
    assert told.code == 0
    assert "pequeno: núcleos pequenos / núcleos miúdos / núcleos diminutos" in told.out
    assert "sul.yaml" not in told.out


def test_whole_reports_are_read(folder: Path, laudos: Callable[..., Ran]) -> None:
    reports = json.loads(laudos("show", "little", "--institution", "sul", "--most", "3", "--json").out)
    assert len(reports) == 3
    assert all("mama" in report.lower() for report in reports)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--institution", "leste"), "there is no institution 'leste'; there is norte, sul"),
        (("--finding", "cor"), "there is no finding 'cor'; there is tamanho"),
        (("--finding", "tamanho", "--level", "médio"), "there is no level 'médio'; there is pequeno, grande"),
    ],
)
def test_what_is_unknown_is_told_with_what_there_is(
    words: tuple[str, ...], told: str, folder: Path, laudos: Callable[..., Ran]
) -> None:
    ended = laudos("show", "little", *words)
    assert ended.code != 0
    assert told in one_line(ended.err)
