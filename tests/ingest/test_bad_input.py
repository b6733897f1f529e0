"""The catalogue of bad input on its way in: mended with a count, quarantined with a reason, or refused.

What cleaning makes of each kind of text is told in tests/ml/test_cleaning.py; here it is that the row
arrives in our tables, on either database, and that none is lost. The hospital's are always in SQLite,
which holds whatever careless programs put there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from db.errors import ConfigurationError
from db.ledger import Counts
from db.source_pages import PageSize
from db.source_reader import SourceReader
from db.tables import quarantine, report_version
from tasks.intake.ingest import source_table
from tasks.intake.quarantine import show_quarantine
from tasks.settings.settings import Settings
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row

LAUDO = "Conclusão: punção de nódulo “benigno”"


@pytest.fixture
def hospital_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hospital.db"


def put(hospital: Hospital, now: datetime, data: bytes, kind: str = "BLOB", external_id: str = "1") -> None:
    """A row whose text is these bytes, as a BLOB or called TEXT."""
    hospital.add(row(external_id, now))
    statement = text(f"UPDATE laudos SET texto = CAST(:data AS {kind}) WHERE id = :id")
    with hospital.engine.begin() as c:
        c.execute(statement, {"data": data, "id": external_id})


def taken(desk: Desk, now: datetime) -> tuple[str, dict[str, int]]:
    """Ingest the one row there is: its text and what was mended."""
    assert desk.ingest(now) == Counts(read=1, new=1)
    one = desk.rows(select(report_version))[0]
    return one.text, one.repairs


def refused(desk: Desk, now: datetime) -> tuple[str, str]:
    """Ingest the one row there is, which must not be taken in: its id and why."""
    assert desk.ingest(now) == Counts(read=1, quarantined=1)
    assert desk.texts() == {}
    return desk.quarantined()[0]


def test_nul_bytes(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, "Nódulo\0 sólido\0"))
    assert taken(desk, now) == ("Nódulo sólido", {"nul": 2})


def test_lone_surrogates(desk: Desk, hospital: Hospital, now: datetime) -> None:
    put(hospital, now, b"N\xc3\xb3dulo \xed\xa0\x80 s\xc3\xb3lido", "TEXT")
    assert taken(desk, now)[1] == {"stray_bytes": 3}


def test_mojibake(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, LAUDO.encode().decode("latin-1")))
    assert taken(desk, now)[0] == LAUDO


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_bytes_in_three_encodings(desk: Desk, hospital: Hospital, now: datetime, encoding: str) -> None:
    put(hospital, now, LAUDO.encode(encoding))
    assert taken(desk, now)[0] == LAUDO


def test_bytes_that_are_called_text(desk: Desk, hospital: Hospital, now: datetime) -> None:
    put(hospital, now, LAUDO.encode("cp1252"), "TEXT")
    assert taken(desk, now)[0] == LAUDO


def test_hl7_escapes(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, r"Nódulo\.br\sólido \T\ cisto"))
    assert taken(desk, now) == ("Nódulo\nsólido & cisto", {"hl7": 2})


@pytest.mark.parametrize(
    ("kind", "raw"), [("rtf", r"{\rtf1\ansi N\'f3dulo\par}"), ("html", "<p>N&oacute;dulo</p>")]
)
def test_rtf_and_html(desk: Desk, hospital: Hospital, now: datetime, kind: str, raw: str) -> None:
    hospital.add(row("1", now, raw))
    assert taken(desk, now) == ("Nódulo", {kind: 1})


def test_pdf_bytes(desk: Desk, hospital: Hospital, now: datetime) -> None:
    put(hospital, now, b"%PDF-1.7\n\x00\xff")
    assert refused(desk, now) == ("1", "pdf")


def test_two_million_characters(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, "nódulo " * 300_000))
    assert refused(desk, now) == ("1", "too_long")


@pytest.mark.parametrize(
    ("raw", "reason"), [(None, "no_text"), ("", "empty"), ("  \n", "empty"), ("--- 12/34 ---", "no_letters")]
)
def test_empty_or_letterless_text(
    desk: Desk, hospital: Hospital, now: datetime, raw: str | None, reason: str
) -> None:
    hospital.add({**row("1", now), "texto": raw})
    assert refused(desk, now) == ("1", reason)


def test_bidi_and_zero_width_marks(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, "be\u200bnig\u202eno"))
    assert taken(desk, now) == ("benigno", {"invisible": 2})


def test_null_ids_wait_one_by_one_and_hold_up_no_page(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(*({**row("x", now, f"Laudo {'abcde'[n]}"), "id": None} for n in range(5)))
    hospital.add({**row("x", now, "Laudo f"), "id": "  "}, row("1", now))
    assert desk.ingest(now) == Counts(read=7, new=1, quarantined=6)
    assert desk.quarantined() == [("", "no_id")] * 6
    assert desk.ingest(now, full=True) == Counts(read=7, unchanged=1, quarantined=6)
    assert desk.quarantined() == [("", "no_id")] * 6  # counted again, not written again
    assert {r.seen for r in desk.rows(select(quarantine.c.seen))} == {2}


@pytest.mark.parametrize("external_id", ["12\x0034", "9" * 600])
def test_ids_that_cannot_be_stored(desk: Desk, hospital: Hospital, now: datetime, external_id: str) -> None:
    hospital.add(row(external_id, now))
    assert refused(desk, now) == ("", "unfit_id")


def test_one_id_with_two_contents_of_one_time_waits_with_both(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    # more of them than a page holds: a page's end must not tear them apart
    hospital.add(*(row("1", now, f"Conteúdo {'abcd'[n]}") for n in range(4)), row("2", now))
    assert desk.ingest(now) == Counts(read=5, new=1, quarantined=4)
    assert desk.quarantined() == [("1", "conflicting_content")] * 4
    hospital.remove("1")
    hospital.add(row("1", now, "Conteúdo a"))
    assert desk.ingest(now).new == 1
    assert desk.quarantined() == []
    assert desk.quarantined("resolved") == [("1", "conflicting_content")] * 4


def test_of_one_id_with_two_contents_the_later_counts(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now - timedelta(minutes=1), "Redação antiga"), row("1", now, "Redação nova"))
    for _ in range(2):
        desk.ingest(now)
        assert desk.texts() == {"1": ["Redação nova"]}
        assert desk.quarantined() == [("1", "conflicting_content")]


def test_one_row_twice_is_one_report(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now), row("1", now))
    assert desk.ingest(now) == Counts(read=2, new=1, unchanged=1)


def test_future_dates(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", datetime(9999, 12, 31, tzinfo=UTC)), row("2", now))
    assert desk.ingest(now).new == 2
    assert desk.watermark() == now


def test_an_unknown_label_waits_while_its_text_is_taken_in(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, resultado="INDETERMINADO"), row("2", now, resultado="M"))
    assert desk.ingest(now) == Counts(read=2, new=2)
    assert desk.labels() == {"2/1": "maligno"}
    assert desk.quarantined() == [("1", "unknown_label")]
    hospital.change("1", resultado="benigno")
    assert desk.ingest(now) == Counts(read=2, unchanged=2)
    assert desk.labels() == {"1/1": "benigno", "2/1": "maligno"}
    assert desk.quarantined() == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"table": "laudo"}, r"no table or view 'laudo'; did you mean 'laudos'\?"),
        ({"text": "textos"}, r"text: 'laudos' has no column 'textos'; did you mean 'texto'\?"),
        ({"labels": {"paaf": "zzz"}}, r"labels\.paaf: 'laudos' has no column 'zzz'; there are: 'atualiz"),
        ({"updated_at": "paciente"}, r"updated_at: column 'paciente' .*or leave updated_at out"),
        ({"url": "sqlite:////nowhere/his.db"}, r"no SQLite file /nowhere/his\.db"),
    ],
)
def test_what_is_not_in_the_sources_schema_is_refused_with_the_nearest_name(
    desk: Desk,
    hospital: Hospital,
    configure: Callable[..., Settings],
    database_url: str,
    now: datetime,
    changed: dict[str, object],
    told: str,
) -> None:
    hospital.add(row("1", now))
    desk.settings = configure(
        database=database_url, sources={"his": columns(hospital.url, **changed)}, classifiers={"paaf": PAAF}
    )
    with pytest.raises(ConfigurationError, match=rf"source 'his': .*{told}"):
        desk.ingest(now)


def test_a_view_is_a_source_like_a_table(
    desk: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str, now: datetime
) -> None:
    with hospital.engine.begin() as c:
        c.execute(text("CREATE VIEW liberados AS SELECT * FROM laudos WHERE paciente IS NOT NULL"))
    hospital.add(row("1", now), row("2", now, paciente=None))
    desk.settings = configure(
        database=database_url,
        sources={"his": columns(hospital.url, table="liberados")},
        classifiers={"paaf": PAAF},
    )
    assert desk.ingest(now) == Counts(read=1, new=1)


def test_a_quarantined_row_is_kept_as_it_was_read(desk: Desk, hospital: Hospital, now: datetime) -> None:
    put(hospital, now, b"%PDF-1.7\x00\xff")
    desk.ingest(now)
    number = desk.rows(select(quarantine.c.id))[0].id
    content = show_quarantine(desk.settings, number, text=True).content
    assert content["text"] == {"base64": "JVBERi0xLjcA/w=="}
    assert content["updated_at"] == now.isoformat()
    assert "p1" not in str(content)  # the patient as a sha only


def test_the_source_is_left_as_it_was(desk: Desk, hospital: Hospital, now: datetime, tmp_path: Path) -> None:
    hospital.add(row("1", now))
    before = (tmp_path / "hospital.db").read_bytes()
    desk.ingest(now)
    assert (tmp_path / "hospital.db").read_bytes() == before
    assert not list(tmp_path.glob("hospital.db-*"))


def test_what_is_shown_of_rows_and_errors_holds_no_text(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, "CANARIO", paciente="CANARIO"))
    with SourceReader(source_table(desk.settings, "his")) as reader:
        shown = repr(list(reader.all_rows(PageSize(10, 10**6))))
    assert "external_id='1'" in shown
    assert "CANARIO" not in shown
