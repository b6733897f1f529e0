"""A model on one's own texts: every row gets its answer or a reason, whatever the file looks like."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from db.errors import ConfigurationError, LaudosError, NothingToWorkOn
from tasks.inspection.predict import predict_file, predict_text
from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import point_at_champion
from tests.scoring.hospital import CLASSIFIER, Hospital, text_of


@pytest.fixture
def ready(hospital: Hospital) -> Hospital:
    """A champion with its pointer file."""
    hospital.crown()
    point_at_champion(hospital.engine, hospital.settings, CLASSIFIER)
    return hospital


def test_a_text_is_answered_without_a_database(ready: Hospital, tmp_path: Path) -> None:
    expected = Predictor.load(ready.folder_of(1)).predict([text_of(3)])[0]
    ready.engine.dispose()
    (tmp_path / "laudos.db").unlink()
    answer = predict_text(ready.settings, text_of(3))
    assert (answer.label, answer.decision, answer.tokens) == (
        expected.label,
        expected.decision,
        expected.tokens_seen,
    )
    assert answer.probabilities == pytest.approx(expected.probabilities)
    assert not (tmp_path / "laudos.db").exists()


def test_a_folder_that_was_named_is_used_instead_of_the_champion(ready: Hospital, tmp_path: Path) -> None:
    folder = ready.folder_of(ready.crown(head=1))
    (ready.settings.folder / f"champion-{CLASSIFIER}.json").unlink()
    answer = predict_text(ready.settings, text_of(3), model=folder)
    assert answer.probabilities == pytest.approx(
        Predictor.load(folder).predict([text_of(3)])[0].probabilities
    )


def test_a_champion_replaced_and_removed_while_it_is_read_gives_way_to_its_successor(
    ready: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Predictor.load
    former = ready.folder_of(1)

    def meanwhile(folder: Path, *rest: Any) -> Predictor:
        if folder == former and former.exists():
            ready.crown(head=1)
            point_at_champion(ready.engine, ready.settings, CLASSIFIER)
            shutil.rmtree(former)
        return load(folder, *rest)

    monkeypatch.setattr(Predictor, "load", meanwhile)
    answer = predict_text(ready.settings, text_of(3))
    expected = load(ready.folder_of(2)).predict([text_of(3)])[0]
    assert answer.probabilities == pytest.approx(expected.probabilities)


def test_a_champion_that_is_gone_and_has_no_successor_is_said_to_be_gone(ready: Hospital) -> None:
    shutil.rmtree(ready.folder_of(1))
    with pytest.raises(BrokenArtifact, match="is not there"):
        predict_text(ready.settings, text_of(3))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("out_name", ["out.csv", "out.parquet"])
def test_no_row_of_a_csv_is_lost(
    ready: Hospital, tmp_path: Path, encoding: str, separator: str, out_name: str
) -> None:
    texts = [text_of(0), "", 'Núcleos; "atípicos",\tnas\nlâminas', "123", text_of(1)]
    table = pd.DataFrame({"número": ["007", "008", "009", "010", ""], "laudo": texts, "label": list("abcde")})
    table.to_csv(tmp_path / "in.csv", sep=separator, encoding=encoding, index=False)
    out = tmp_path / out_name
    told = predict_file(ready.settings, tmp_path / "in.csv", out, column="laudo")
    assert (told.rows, told.unread) == (5, 2)
    read = (
        pd.read_csv(out, dtype=str, keep_default_na=False) if out.suffix == ".csv" else pd.read_parquet(out)
    )
    assert list(read["número"]) == ["007", "008", "009", "010", ""]
    assert list(read["in_label"]) == list("abcde")
    assert "laudo" not in read.columns
    assert [bool(label) and label == label for label in read.label] == [True, False, True, False, True]
    assert list(read.problem.fillna("")) == ["", "empty", "", "no_letters", ""]
    assert list(read.decision[[1, 3]]) == ["review", "review"]
    assert told.review == (read.decision == "review").sum()


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        ("text\nlaudo um\n\n   \nlaudo quatro\n", ["", "empty", "empty", ""]),
        ("id;text\n1;laudo um\n\n2;\n3;laudo três\n\n", ["", "empty", ""]),
    ],
    ids=["of one column", "of several"],
)
def test_a_blank_line_is_a_row_where_it_can_be_one(
    ready: Hospital, tmp_path: Path, content: str, problems: list[str]
) -> None:
    (tmp_path / "in.csv").write_text(content)
    predict_file(ready.settings, tmp_path / "in.csv", tmp_path / "out.parquet")
    assert list(pd.read_parquet(tmp_path / "out.parquet").problem.fillna("")) == problems


@pytest.mark.parametrize("broken", [b"N\x81cleos at\xedpicos", "Núcleos atípicÁ".encode()[:-1]])
def test_a_csv_of_bytes_that_no_encoding_gives_is_read_as_a_text_is(
    ready: Hospital, tmp_path: Path, broken: bytes
) -> None:
    (tmp_path / "in.csv").write_bytes(b"id,text\n1," + broken + b"\n")
    assert predict_file(ready.settings, tmp_path / "in.csv", tmp_path / "out.csv").unread == 0


def test_a_parquet_file_keeps_its_types_and_bytes_are_read(ready: Hospital, tmp_path: Path) -> None:
    raw = [text_of(0).encode("cp1252"), None, b"%PDF-1.7 ...", text_of(1).encode()]
    table = pa.table({"id": pa.array([1, 2, 3, 4], pa.int16()), "text": pa.array(raw, pa.binary())})
    pq.write_table(table, tmp_path / "in.parquet")
    predict_file(ready.settings, tmp_path / "in.parquet", tmp_path / "out.parquet")
    read = pq.read_table(tmp_path / "out.parquet")
    assert read.schema.field("id").type == pa.int16()
    assert [label is not None for label in read["label"].to_pylist()] == [True, False, False, True]
    assert read["problem"].to_pylist() == [None, "no_text", "pdf", None]


def test_pieces_follow_each_other(ready: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.inspection.predict.ROWS_A_PIECE", 2)
    pd.DataFrame({"text": [text_of(n) for n in range(7)]}).to_csv(tmp_path / "in.csv", index=False)
    assert predict_file(ready.settings, tmp_path / "in.csv", tmp_path / "out.csv").rows == 7
    whole = Predictor.load(ready.folder_of(1)).predict([text_of(n) for n in range(7)])
    read = pd.read_csv(tmp_path / "out.csv")
    assert np.allclose(read.p_maligno, [one.probabilities["maligno"] for one in whole], atol=1e-5)


def test_a_text_that_makes_the_model_fail_keeps_its_row(
    ready: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Predictor.vectors

    def vectors(self: Predictor, texts: list[str], **options: Any) -> Any:
        if any("derruba" in text for text in texts):
            raise RuntimeError("a kernel said no")
        return read(self, texts, **options)

    monkeypatch.setattr(Predictor, "vectors", vectors)
    pd.DataFrame({"text": [text_of(0), "derruba", text_of(1)]}).to_csv(tmp_path / "in.csv", index=False)
    told = predict_file(ready.settings, tmp_path / "in.csv", tmp_path / "out.csv")
    assert (told.rows, told.unread) == (3, 1)
    assert list(pd.read_csv(tmp_path / "out.csv").problem.fillna("")) == ["", "scoring_failed", ""]


def test_a_wrong_column_is_answered_with_the_right_one(ready: Hospital, tmp_path: Path) -> None:
    pd.DataFrame({"id": ["1"], "texto": ["laudo"]}).to_parquet(tmp_path / "in.parquet")
    with pytest.raises(ConfigurationError, match=r"no column 'text'; did you mean 'texto'\?; --column"):
        predict_file(ready.settings, tmp_path / "in.parquet", tmp_path / "out.csv")
    with pytest.raises(ConfigurationError, match="no column 'zzz'; known: 'id', 'texto'"):
        predict_file(ready.settings, tmp_path / "in.parquet", tmp_path / "out.csv", column="zzz")


@pytest.mark.parametrize("text", ["Texo do SEGREDO", "Esfregaço de SEGREDO, sem atipias"])
def test_a_csv_without_a_header_is_refused_without_quoting_a_report(
    ready: Hospital, tmp_path: Path, text: str
) -> None:
    (tmp_path / "in.csv").write_text(f'1,"{text}"\n2,"Outro laudo"\n')
    told = "no column 'text': its first line, which must hold the columns' names, has 2 others; --column"
    with pytest.raises(ConfigurationError, match=told) as refused:
        predict_file(ready.settings, tmp_path / "in.csv", tmp_path / "out.csv")
    assert "SEGREDO" not in str(refused.value)


FILES: dict[str, tuple[str, bytes, str]] = {
    "not there": ("in.csv", b"", "is not there"),
    "empty": ("in.csv", b"", "is empty"),
    "a header alone": ("in.csv", b"id,text\n", "has no rows"),
    "a line with too many values": ("in.csv", b"id,text\n1,SEGREDO,x,y\n", "more values than its header"),
    "a quote that nothing closes": ("in.csv", b'id,text\n1,"SEGREDO\n2,b\n', "a quote that nothing closes"),
    "a later line with too many": ("in.csv", b"id,text\n1,a\n2,SEGREDO,x\n", "more values than its header"),
    "no Parquet": ("in.parquet", b"SEGREDO", "no Parquet file"),
    "another kind": ("in.xlsx", b"x", "must end in"),
}


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_no_table_is_refused_without_quoting_it(
    ready: Hospital, tmp_path: Path, file: str
) -> None:
    name, content, message = FILES[file]
    if file != "not there":
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LaudosError, match=message) as refused:
        predict_file(ready.settings, tmp_path / name, tmp_path / "out.csv")
    assert "SEGREDO" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None
    assert not (tmp_path / "out.csv").exists()


def test_a_failure_midway_leaves_no_half_written_answers(ready: Hospital, tmp_path: Path) -> None:
    rows = "".join(f"{number},laudo normal\n" for number in range(2500))
    (tmp_path / "in.csv").write_text(f"id,text\n{rows}1,a,b,c\n")
    with pytest.raises(ConfigurationError, match="more values"):
        predict_file(ready.settings, tmp_path / "in.csv", tmp_path / "out.csv")
    assert not list(tmp_path.glob("*out.csv*"))


def test_an_answer_never_replaces_the_question(ready: Hospital, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\nlaudo\n")
    with pytest.raises(ConfigurationError, match="another file"):
        predict_file(ready.settings, tmp_path / "in.csv", tmp_path / "in.csv")


def test_what_is_missing_or_broken_names_the_command(ready: Hospital, tmp_path: Path) -> None:
    with pytest.raises(LaudosError, match="cannot be read: no_letters"):
        predict_text(ready.settings, "12345")
    with pytest.raises(NothingToWorkOn, match=r"'outro'.*laudos retrain"):
        predict_text(ready.settings, "laudo", classifier="outro")
    pointer = ready.settings.folder / f"champion-{CLASSIFIER}.json"
    second = pointer.with_name("champion-outro.json")
    second.write_text(pointer.read_text())
    with pytest.raises(ConfigurationError, match="--classifier NAME"):
        predict_text(ready.settings, "laudo")
    second.unlink()
    content = json.loads(pointer.read_text())
    pointer.write_text(json.dumps({**content, "manifest_sha": "0" * 64}))
    with pytest.raises(BrokenArtifact, match="laudos models rollback"):
        predict_text(ready.settings, "laudo")
    pointer.write_text("{")
    with pytest.raises(LaudosError, match="writes it anew"):
        predict_text(ready.settings, "laudo")
    pointer.unlink()
    with pytest.raises(NothingToWorkOn, match="laudos retrain"):
        predict_text(ready.settings, "laudo")
