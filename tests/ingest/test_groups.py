"""Sex, age, race and institution come in as groups, cleaned and few, and no date of birth ever does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, select

from db import schema
from db.engine import open_engine, reading
from db.errors import ConfigurationError
from db.groups import Groups, newest_values
from db.ledger import Counts
from db.source_reader import SourceRow
from db.tables import patient_group, quarantine, report, report_version
from tasks.intake.groups import groups_of
from tasks.intake.rows import row_from, row_of
from tasks.ml.reading.patient_groups import age_band, age_band_at, institution_of, race_of, sex_of
from tasks.settings.settings import Settings
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row

# the hospital's table has few columns: two of them say here what those of a real one would
MAPPED = {
    "labels": {},
    "date": None,
    "birth_date": "data_laudo",
    "sex": "resultado",
    "institution": "paciente",
    "group_values": {"sex": {"3": "female"}},
}


@pytest.fixture
def asking(engine: Engine, database_url: str, hospital: Hospital, configure: Callable[..., Settings]) -> Desk:
    """A desk whose source tells of its patients."""
    told = {name: value for name, value in columns(hospital.url, **MAPPED).items() if value is not None}
    settings = configure(database=database_url, sources={"his": told}, classifiers={"paaf": PAAF})
    return Desk(engine, settings)


def groups(desk: Desk) -> dict[str, Groups]:
    """external id/version -> its patient's groups."""
    query = (
        select(report.c.external_id, report_version.c.version, *patient_group.columns[1:])
        .join(report_version, report_version.c.report_id == report.c.id)
        .join(patient_group, patient_group.c.report_version_id == report_version.c.id)
    )
    return {f"{key}/{version}": Groups(*told) for key, version, *told in desk.rows(query)}


def test_groups_are_taken_in_corrected_and_carried_to_the_next_version(
    asking: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(
        row("1", now, resultado="3", data_laudo="1980-03-03", paciente="Unidade  Sul"),
        row("2", now, resultado="M", data_laudo=None, paciente=None),
        row("3", now, resultado="ignorado", data_laudo="31/12/1899", paciente=" "),
    )
    assert asking.ingest(now).new == 3
    first = Groups("female", "40-49", None, "Unidade Sul")
    assert groups(asking) == {"1/1": first, "2/1": Groups("male")}
    hospital.change("2", resultado="F")
    hospital.change("1", texto="Emendado", atualizado_em=now + timedelta(days=1), data_laudo="1970-01-01")
    again = asking.ingest(now + timedelta(days=2), full=True)
    assert again == Counts(read=3, updated=1, unchanged=2)  # a corrected group is no new content
    amended = Groups("female", "50-59", None, "Unidade Sul")
    assert groups(asking) == {"1/1": first, "1/2": amended, "2/1": Groups("female")}
    hospital.change("2", resultado=None)
    asking.ingest(now + timedelta(days=2), full=True)
    assert "2/1" not in groups(asking)


def test_a_row_in_quarantine_keeps_its_groups_and_no_date_of_birth(
    asking: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, text="12345", resultado="F", data_laudo="1961-07-29"))
    assert asking.ingest(now).quarantined == 1
    [kept] = asking.rows(select(quarantine.c.payload))
    assert b"1961" not in kept.payload
    assert row_from(json.loads(kept.payload)).groups == Groups("female", "60-69", None, "p1")
    before_there_were_groups = {**json.loads(kept.payload)}
    del before_there_were_groups["groups"]
    assert row_from(before_there_were_groups).groups is None


def test_a_date_of_birth_is_a_day_at_the_source_whatever_the_servers_zone(now: datetime) -> None:
    born = datetime(1986, 3, 3, 1, tzinfo=UTC)  # the evening of the 2nd in São Paulo: forty years ago
    read = SourceRow("1", "", now, None, None, {}, {"birth_date": born})
    found = groups_of(read, {}, ZoneInfo("America/Sao_Paulo"))
    assert found is not None
    assert found.age_band == "40-49"


def test_a_refused_row_whose_patient_is_of_no_known_group_can_be_kept(now: datetime) -> None:
    refused = row_of("his", SourceRow("1", "", now, None, None, {}), Groups()).refused("empty")
    assert row_from(json.loads(json.dumps(refused.payload))).groups == Groups()


def test_a_source_without_such_columns_writes_no_group(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, resultado="M"))
    desk.ingest(now)
    assert desk.rows(select(patient_group)) == []


def test_a_column_of_names_is_refused_before_anything_of_it_is_stored(
    engine: Engine,
    database_url: str,
    hospital: Hospital,
    configure: Callable[..., Settings],
    now: datetime,
) -> None:
    asked = columns(hospital.url, institution="paciente", page_rows=5000)
    desk = Desk(engine, configure(database=database_url, sources={"his": asked}, classifiers={"paaf": PAAF}))
    hospital.add(*(row(str(n), now, paciente=f"Dona Maria {n}") for n in range(201)))
    with pytest.raises(ConfigurationError, match=r"sources\.his\.institution: its column holds 201") as told:
        desk.ingest(now)
    assert "Maria" not in str(told.value)
    assert "or raise sources.his.institutions_max" in str(told.value)
    assert desk.rows(select(patient_group)) == desk.rows(select(report)) == []


def test_a_network_says_how_many_institutions_it_has_and_no_more_come_in(
    hospital: Hospital, sqlite_url: str, configure: Callable[..., Settings], now: datetime
) -> None:
    schema.upgrade(sqlite_url)
    asked = columns(hospital.url, institution="paciente", race="resultado", institutions_max=300)
    settings = configure(database=sqlite_url, sources={"his": asked}, classifiers={"paaf": PAAF})
    desk = Desk(open_engine(sqlite_url), settings)
    hospital.add(*(row(str(n), now, paciente=f"Unidade {n}", resultado="B") for n in range(300)))
    assert desk.ingest(now).new == 300
    hospital.add(row("300", now, paciente="Dona Maria"))
    with pytest.raises(ConfigurationError, match=r"institution: its column holds 301 different"):
        desk.ingest(now)
    hospital.change("300", paciente="Unidade 1")
    hospital.add(*(row(f"r{n}", now, paciente="Unidade 1", resultado=f"Maria {n}") for n in range(200)))
    with pytest.raises(ConfigurationError, match=r"race: its column holds 201 different") as told:
        desk.ingest(now)
    assert "institutions_max" not in str(told.value)


def telling(
    database_url: str, hospital: Hospital, configure: Callable[..., Settings], column: str
) -> Settings:
    asked = columns(hospital.url, institution=column, page_rows=40)
    return configure(database=database_url, sources={"his": asked}, classifiers={"paaf": PAAF})


def test_a_column_of_names_that_comes_in_small_pages_and_over_nights_is_refused(
    engine: Engine,
    database_url: str,
    hospital: Hospital,
    configure: Callable[..., Settings],
    now: datetime,
) -> None:
    desk = Desk(engine, telling(database_url, hospital, configure, "paciente"))
    for night, names in enumerate((150, 40)):
        at = now + timedelta(days=night)
        hospital.add(*(row(f"{night}.{n}", at, paciente=f"Dona Maria {night}.{n}") for n in range(names)))
        assert desk.ingest(at + timedelta(hours=1)).new == names
    later = now + timedelta(days=2)
    hospital.add(*(row(f"2.{n}", later, paciente=f"Dona Maria 2.{n}") for n in range(30)))
    refused = r"sources\.his\.institution: its column holds 220 different"
    with pytest.raises(ConfigurationError, match=refused) as told:
        desk.ingest(later + timedelta(hours=1))
    assert "Maria" not in str(told.value)
    assert 190 <= len(groups(desk)) <= 200  # nothing of the page that is one too many
    # all of them at once, in pages of 40: the sixth is too many
    with pytest.raises(ConfigurationError, match="its column holds 2"):
        desk.ingest(later + timedelta(hours=1), full=True)

    # another column, and the names are forgotten
    corrected = Desk(engine, telling(database_url, hospital, configure, "resultado"))
    corrected.ingest(later + timedelta(hours=2), full=True)
    assert groups(corrected) == {}
    hospital.add(row("3.1", later + timedelta(hours=3), resultado="B"))
    corrected.ingest(later + timedelta(hours=4))
    assert [one.institution for one in groups(corrected).values()] == ["B"]


def test_what_other_sources_and_former_versions_say_is_not_counted_against_a_column(
    asking: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, paciente="Unidade Sul"), row("2", now, paciente="Unidade Norte"))
    asking.ingest(now)
    hospital.change("1", texto="Emendado", atualizado_em=now + timedelta(days=1), paciente="Unidade Leste")
    asking.ingest(now + timedelta(days=1))
    with reading(asking.engine) as c:
        assert newest_values(c, 1, 100) == {"race": set(), "institution": {"Unidade Leste", "Unidade Norte"}}
        assert newest_values(c, 1, 1) == {"race": set(), "institution": {"Unidade Leste"}}
        assert newest_values(c, 2, 100) == {"race": set(), "institution": set()}


@pytest.mark.parametrize(
    ("written", "band"),
    [
        (0, "0-17"), (39.0, "18-39"), ("045Y", "40-49"), ("69 anos", "60-69"), (80, "80 and over"),
        ("7 meses", "0-17"), ("006M", "0-17"), (121, None), (-1, None), ("1980-01-01", None), (True, None),
        ("215M", "0-17"), ("216M", "18-39"), ("480 meses", "40-49"), ("52w", "0-17"), ("6574D", "0-17"),
        ("6575 dias", "18-39"), ("1500M", None), ("45 metros", None),
        (None, None), ("", None), (float("nan"), None), ("maior", None),
    ],
)  # fmt: skip
def test_an_age_is_a_band_or_nothing(written: object, band: str | None) -> None:
    assert age_band(written) == band


def test_a_birthday_counts_from_its_day_on() -> None:
    born = date(1976, 3, 2)
    assert [age_band_at(born, date(2026, 3, day)) for day in (1, 2)] == ["40-49", "50-59"]
    assert age_band_at(None, born) is age_band_at(born, None) is None
    assert age_band_at(date(2030, 1, 1), born) is None  # born after the report


def test_values_of_one_meaning_have_one_spelling_and_what_is_unknown_is_nothing() -> None:
    assert [sex_of(one) for one in ("F", "feminino ", "MASC", "Intersexo", "9", None, b"F")] == [
        "female", "female", "male", "other", None, None, None,
    ]  # fmt: skip
    assert {race_of(one) for one in ("Indígena", "INDIGENA")} == {"indígena"}
    assert [race_of(one) for one in ("PARDO", "Black or African American", "Não informada", "\0", 3.0)] == [
        "parda", "black or african american", None, None, "3",
    ]  # fmt: skip
    assert institution_of("Hospital\tdas\nClínicas\0") == "Hospital das Clínicas"
    assert len(institution_of("x" * 500) or "") == 64
