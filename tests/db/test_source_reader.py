"""Keys, moments and dates of any kind are paged through and told alike."""

from __future__ import annotations

import random
import tracemalloc
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
    create_engine,
    insert,
    make_url,
)
from sqlalchemy.types import TypeEngine

from db import source_pages
from db.errors import ConfigurationError
from db.source_pages import PageSize
from db.source_reader import SourceReader, SourceTable
from db.source_values import as_date, as_instant, as_key
from tasks.torture.server import Server
from tests.db.conftest import database_in

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
PAGE, LARGE = PageSize(2, 10**6), PageSize(10, 10**6)
NOON = datetime(2026, 3, 2, 12, 0, 0, 123456)


@contextmanager
def reading_from(
    url: str, rows: list[tuple[Any, Any]], id_type: TypeEngine[Any], moment_type: TypeEngine[Any]
) -> Iterator[SourceReader]:
    """A reader on a table `Laudos` of (id, moment), whose text is the row's number."""
    engine = create_engine(url)
    columns = (Column("Id", id_type), Column("Quando", moment_type), Column("texto", Text))
    table = Table("Laudos", MetaData(), *columns)
    table.create(engine)
    values = [{"Id": key, "Quando": at, "texto": str(n)} for n, (key, at) in enumerate(rows)]
    with engine.begin() as c:
        if values:
            c.execute(insert(table), values)
    engine.dispose()
    source = SourceTable("his", url, "Laudos", None, "Id", "texto", "Quando", None, None, {}, SAO_PAULO)
    with SourceReader(source) as reader:
        yield reader


@contextmanager
def postgres_table(
    url: str, id_type: str, moment_type: str, rows: list[tuple[Any, str]], *before: str
) -> Iterator[SourceReader]:
    """As `reading_from`, of types that PostgreSQL alone has, after statements of its own."""
    engine = create_engine(url)
    with engine.begin() as c:
        for statement in before:
            c.exec_driver_sql(statement)
        c.exec_driver_sql(f'CREATE TABLE "Laudos" ("Id" {id_type}, "Quando" {moment_type}, texto TEXT)')
        for number, (key, moment) in enumerate(rows):
            # of no type, as a literal is
            c.exec_driver_sql('INSERT INTO "Laudos" VALUES (%s, %s, %s)', (key, moment, str(number)))
    engine.dispose()
    with SourceReader(_in_postgres(url)) as reader:
        yield reader


def _in_postgres(url: str) -> SourceTable:
    """That table, whose moments are the reports' dates, too."""
    return SourceTable("his", url, "Laudos", None, "Id", "texto", "Quando", None, "Quando", {}, SAO_PAULO)


def told(pages: Iterator[list[Any]]) -> list[str]:
    return [row.text for page in pages for row in page]


@pytest.mark.parametrize(
    ("id_type", "keys"),
    [
        (Integer(), [1, 2, 3, 10, 11, 2_000_000_000]),
        (BigInteger(), [1, 2, 3, 10, 11, 9_000_000_000_000]),
        (Numeric(20, 0), [Decimal(n) for n in (1, 2, 3, 10, 11, 9_000_000_000)]),
        (Text(), ["A", "B", "C", "a", "b", "c"]),
        (Uuid(), sorted(uuid.UUID(int=n << 90) for n in range(6))),
    ],
    ids=["integer", "bigint", "numeric", "text", "uuid"],
)
@pytest.mark.filterwarnings("ignore:Dialect sqlite:sqlalchemy.exc.SAWarning")
def test_keys_of_any_kind_are_paged_through_in_both_orders(
    database_url: str, id_type: TypeEngine[Any], keys: list[Any]
) -> None:
    rows = [(key, NOON) for key in keys]
    with reading_from(database_url, rows, id_type, DateTime()) as reader:
        assert sorted(told(reader.all_rows(PAGE))) == sorted(told(reader.pages(None, PAGE))) == list("012345")


@pytest.mark.parametrize(
    ("moment_type", "values", "at"),
    [
        (DateTime(timezone=True), [NOON.replace(tzinfo=UTC)] * 3, NOON.replace(tzinfo=UTC)),
        (DateTime(), [NOON] * 3, NOON.replace(tzinfo=SAO_PAULO).astimezone(UTC)),
        (Date(), [NOON.date()] * 3, datetime(2026, 3, 2, 3, tzinfo=UTC)),
        (Text(), ["2026-03-02T12:00:00.123456-03:00"] * 3, datetime(2026, 3, 2, 15, 0, 0, 123456, UTC)),
    ],
    ids=["with zone", "without zone", "date", "text"],
)
@pytest.mark.filterwarnings("ignore:Dialect sqlite:sqlalchemy.exc.SAWarning")
def test_moments_of_any_kind_are_read_and_searched_from(
    database_url: str, moment_type: TypeEngine[Any], values: list[Any], at: datetime
) -> None:
    if (
        not isinstance(values[0], str)
        and moment_type.__class__ is DateTime
        and database_url.startswith("sqlite")
    ):
        at = NOON.replace(tzinfo=SAO_PAULO).astimezone(UTC)  # SQLite keeps no zone: it is the source's
    with reading_from(database_url, list(enumerate(values)), Integer(), moment_type) as reader:
        (page,) = list(reader.pages(at, LARGE))
        assert [row.updated_at for row in page] == [at] * 3
        assert list(reader.pages(at + timedelta(days=3), LARGE)) == []


@pytest.mark.parametrize("kind", ["TIMESTAMPTZ", "TIMESTAMP", "DATE"])
def test_moments_beyond_pythons_calendar_end_no_page(postgres_url: str, kind: str) -> None:
    moments = ["-infinity", "0044-03-15 BC", "2026-03-02", "200000-01-01", *["infinity"] * 3]
    with postgres_table(postgres_url, "INTEGER", kind, list(enumerate(moments))) as reader:
        assert told(reader.all_rows(PAGE)) == list("0123456")
        # each of them ends a page of one row, and the next page goes on behind it
        assert told(reader.pages(None, PageSize(1, 10**6))) == list("0123456")
        known = [row.external_id for page in reader.all_rows(PAGE) for row in page if row.updated_at]
        assert known == ["2"]


def test_text_that_does_not_sort_by_time_is_refused(database_url: str) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"updated_at: .*ISO 8601; name another, or leave"),
        reading_from(database_url, [(1, "02/03/2026 12:00")], Integer(), Text()),
    ):
        pass


def test_keys_are_told_alike_whatever_the_driver_gives() -> None:
    values = [12, 12.0, Decimal("12.0"), "12", " 12  ", b"12"]
    assert {as_key(value) for value in values} == {"12"}
    assert [as_key(value) for value in (None, "", "  ", b"")] == [None] * 4
    assert as_key(float("nan")) == "nan"
    assert [as_key(kind("-inf")) for kind in (float, Decimal)] == ["-inf", "-Infinity"]
    assert as_key(Decimal("1.5")) == "1.5"


def test_moments_without_a_zone_are_the_sources() -> None:
    assert as_instant("2026-03-02 12:00", SAO_PAULO) == datetime(2026, 3, 2, 15, tzinfo=UTC)
    assert as_instant("2026-03-02T12:00:00.1234567Z", SAO_PAULO) == NOON.replace(
        second=0, microsecond=123456, tzinfo=UTC
    )
    # 23:30 came twice when that summer time ended
    twice = [datetime(2018, 2, 17, 23, 30, fold=fold) for fold in (0, 1)]
    assert [as_instant(moment, SAO_PAULO).hour for moment in twice] == [1, 2]
    for nothing in (None, "ontem", 20260302, datetime.max.replace(tzinfo=ZoneInfo("Etc/GMT+12"))):
        assert as_instant(nothing, SAO_PAULO) is None


def test_dates_are_read_as_brazil_and_iso_write_them() -> None:
    day = date(2026, 2, 28)
    for written in (day, datetime(2026, 2, 28, 23), "2026-02-28", "28/02/2026 10:00", "2026-02-28T10:00"):
        assert as_date(written, SAO_PAULO) == day
    for nothing in (None, "31/02/2026", "ontem", 3):
        assert as_date(nothing, SAO_PAULO) is None


@pytest.mark.parametrize("server", ["UTC", "America/Sao_Paulo", "Asia/Tokyo"])
def test_the_date_of_a_report_is_its_sources_day_whatever_the_servers_zone(
    postgres_url: str, server: str
) -> None:
    name = make_url(postgres_url).database
    moments = ["2026-03-01 23:30-03", "2026-03-02 00:30-03"]
    setting = f"ALTER DATABASE \"{name}\" SET timezone = '{server}'"
    with postgres_table(postgres_url, "INTEGER", "TIMESTAMPTZ", list(enumerate(moments)), setting) as reader:
        days = [row.date for page in reader.all_rows(PAGE) for row in page]
    assert days == [date(2026, 3, 1), date(2026, 3, 2)]


def test_a_date_at_the_calendars_end_is_the_day_that_it_bears() -> None:
    assert as_date(datetime.max.replace(tzinfo=UTC), ZoneInfo("Asia/Tokyo")) == date.max


@pytest.mark.parametrize("kind", ["citext", "enum"])
def test_ids_are_compared_as_their_column_sorts(postgres_url: str, kind: str) -> None:
    keys = ["z1", "a2", "B3", "b4", "C5", "c6", "d7"]
    created = {
        "citext": "CREATE EXTENSION citext",
        "enum": f"CREATE TYPE enum_ids AS ENUM ({', '.join(map(repr, keys))})",
    }
    id_type = "enum_ids" if kind == "enum" else kind
    rows = [(key, "2026-03-02 12:00") for key in keys]
    with postgres_table(postgres_url, id_type, "TIMESTAMP", rows, created[kind]) as reader:
        for pages in (reader.all_rows(PAGE), reader.pages(None, PAGE)):
            assert sorted(told(pages)) == list("0123456")


def test_ids_in_latin_1_end_no_page(sqlite_url: str) -> None:
    """SQLite calls any bytes text, and keeps numbers beside them where a column has no type."""
    engine = create_engine(sqlite_url)
    ids = [*range(5), *(f"1ç{n}".encode("latin-1") for n in range(5)), "z"]
    with engine.begin() as c:
        c.exec_driver_sql('CREATE TABLE "Laudos" ("Id", "Quando" TEXT, texto TEXT)')
        for number, key in enumerate(ids):
            stored = "CAST(? AS TEXT)" if isinstance(key, bytes) else "?"
            c.exec_driver_sql(
                f'INSERT INTO "Laudos" VALUES ({stored}, ?, ?)', (key, "2026-03-02", f"{number:02}")
            )
    engine.dispose()
    source = SourceTable(
        "his", sqlite_url, "Laudos", None, "Id", "texto", "Quando", None, None, {}, SAO_PAULO
    )
    with SourceReader(source) as reader:
        for pages in (reader.all_rows(PAGE), reader.pages(None, PAGE)):
            assert told(islice(pages, 20)) == [f"{n:02}" for n in range(len(ids))]


@pytest.mark.parametrize("base", ["timestamptz", "timestamp", "text"])
def test_a_moment_may_be_of_a_domain(postgres_url: str, base: str) -> None:
    created = f"CREATE DOMAIN given AS {base}; CREATE DOMAIN moved AS given NOT NULL"
    rows = [(n, "2026-03-02 12:00") for n in range(5)]
    with postgres_table(postgres_url, "INTEGER", "moved", rows, created) as reader:
        assert told(reader.pages(datetime(2026, 3, 2, tzinfo=UTC), PAGE)) == list("01234")
        assert told(reader.pages(datetime(2026, 3, 5, tzinfo=UTC), PAGE)) == []


@pytest.mark.parametrize("moment_type", [DateTime(), Text()], ids=["without zone", "text"])
def test_a_never_in_local_time_refuses_no_source(database_url: str, moment_type: TypeEngine[Any]) -> None:
    never = datetime(9999, 12, 31, 23, 59, 59)
    moments = [NOON, never]
    rows = [(n, str(at) if isinstance(moment_type, Text) else at) for n, at in enumerate(moments)]
    with reading_from(database_url, rows, Integer(), moment_type) as reader:
        assert sorted(told(reader.pages(None, PAGE))) == ["0", "1"]


def test_a_database_that_tells_no_encoding_is_refused_with_what_to_say_in_its_url(
    postgres_server: Server,
) -> None:
    with database_in(postgres_server, "SQL_ASCII") as url:
        with (
            pytest.raises(ConfigurationError, match=r"'his': url: .*SQL_ASCII.*add \?client_encoding=utf8"),
            SourceReader(_in_postgres(url)),
        ):
            pass
        named = f"{url}&client_encoding=latin1"
        with postgres_table(named, "TEXT", "TIMESTAMP", [("ação", "2026-03-02")]) as reader:
            assert [[row.external_id for row in page] for page in reader.all_rows(PAGE)] == [["ação"]]


@pytest.mark.parametrize("collation", ["pt-BR-x-icu", "case_blind", "C"])
@pytest.mark.postgres
def test_a_collation_that_sorts_otherwise_loses_no_row_on_postgres(postgres_url: str, collation: str) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as c:
        # the strangest there is: case, accents and punctuation all count for nothing
        c.exec_driver_sql(
            "CREATE COLLATION case_blind (provider = icu, deterministic = false,"
            " locale = 'und-u-ks-level1-ka-shifted')"
        )
    engine.dispose()
    _every_id_once(postgres_url, Text(collation=collation))


def test_a_collation_that_ignores_case_loses_no_row_on_sqlite(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _every_id_once(sqlite_url, Text(collation="NOCASE"))
    # the control: told apart letter by letter, "a" ends a page, and nothing greater than it is "A"
    monkeypatch.setattr(source_pages, "_fold", lambda key: key)
    Path(sqlite_url.removeprefix("sqlite:///")).unlink()
    with pytest.raises(AssertionError):
        _every_id_once(sqlite_url, Text(collation="NOCASE"))


def _every_id_once(url: str, id_type: TypeEngine[Any]) -> None:
    """Ids that a collation may take for one, more of them than a page holds, in both orders."""
    keys = ["a", "A", "á", "Á", "a ", "b-1", "B1", "b1", "b 1", "ç", "c", "C", "10", "9", "1-0", "Z", "z"]
    random.Random(1).shuffle(keys)
    with reading_from(url, [(key, NOON) for key in keys], id_type, DateTime()) as reader:
        for pages in (reader.all_rows(PAGE), reader.pages(None, PAGE)):
            assert sorted(told(pages), key=int) == [str(n) for n in range(len(keys))]


def test_a_page_ends_at_so_many_bytes_and_tears_no_key(database_url: str) -> None:
    keys = ["a"] * 5 + ["b", "c", "d"]
    with reading_from(database_url, [(key, NOON) for key in keys], Text(), DateTime()) as reader:
        # a row's text is one byte here: five of one key need a page of twice twice two bytes
        pages = [[row.external_id for row in page] for page in reader.all_rows(PageSize(100, 2))]
    assert pages == [[*"aaaaabc"], ["d"]]


def test_large_texts_do_not_all_come_at_once(postgres_url: str) -> None:
    """Streamed: of 99 texts of 1 MB, a page of 2 MB fetches a few and leaves the others there."""
    engine = create_engine(postgres_url)
    with engine.begin() as c:
        c.exec_driver_sql("""CREATE TABLE "Laudos" ("Id" int, "Quando" timestamp, texto text)""")
        c.exec_driver_sql(
            """INSERT INTO "Laudos" SELECT n, now(), repeat('laudo ', 170000) FROM generate_series(1, 99) n"""
        )
    engine.dispose()
    source = SourceTable(
        "his", postgres_url, "Laudos", None, "Id", "texto", "Quando", None, None, {}, SAO_PAULO
    )
    with SourceReader(source) as reader:
        pages = reader.all_rows(PageSize(1000, 2 * 2**20))
        tracemalloc.start()
        first = len(next(pages))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert first == 2
        assert peak < 40 * 2**20
        assert first + sum(map(len, pages)) == 99
