"""The groups of patients that a source's columns tell of, as laudos keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from db import groups
from db.errors import ConfigurationError
from db.groups import Groups
from db.source_reader import SourceRow
from db.source_values import as_date
from tasks.intake.rows import without_fraction
from tasks.ml.reading.patient_groups import age_band, age_band_at, institution_of, race_of, sex_of

# of the column of race: what has more is a name or a number of the patient's, and must not come in
RACES_MAX: Final = 200
# so far back is looked for what came in on earlier nights: far enough for names, which hardly repeat
VERSIONS_BACK: Final = 20_000

Meanings = Mapping[Any, Mapping[str, str]]  # sex, race or institution -> value at the source -> what it means


def groups_of(read: SourceRow, meanings: Meanings, zone: ZoneInfo) -> Groups | None:
    """What the row tells of its patient; None where the source, whose zone that is, has no such columns.

    An age at a date of birth is that on the report's date, else on the day the row changed.
    """
    if not read.groups:
        return None
    said = {name: _meant(name, value, meanings) for name, value in read.groups.items()}
    day: date | None = read.date or (read.updated_at.date() if read.updated_at else None)
    return Groups(
        sex=sex_of(said.get("sex")),
        age_band=age_band(said.get("age")) or age_band_at(as_date(said.get("birth_date"), zone), day),
        race=race_of(said.get("race")),
        institution=institution_of(said.get("institution")),
    )


class Values:
    """The different values of the columns that must hold groups: of all pages of an ingest together, and of
    the newest reports that are known where it goes on from them. They are counted, never shown."""

    def __init__(
        self, source_name: str, institutions_max: int, known: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self._source_name = source_name
        self._most = {"race": RACES_MAX, "institution": institutions_max}
        self._seen = {name: set((known or {}).get(name, ())) for name in groups.OPEN_ENDED}

    @classmethod
    def so_far(cls, c: Connection, source_name: str, institutions_max: int, source_id: int) -> Values:
        """With those of the newest reports of the source."""
        return cls(source_name, institutions_max, groups.newest_values(c, source_id, VERSIONS_BACK))

    def admit(self, page: Iterable[Groups | None]) -> None:
        """Count a page's. Raises ConfigurationError where a column holds something else, such as names."""
        for one in page:
            for name, seen in self._seen.items():
                if one is not None and (value := getattr(one, name)) is not None:
                    seen.add(value)
        for name, seen in self._seen.items():
            if len(seen) > self._most[name]:
                where = f"sources.{self._source_name}.{name}"
                so_many = f"; or raise {where}s_max, where there are so many" if name == "institution" else ""
                raise ConfigurationError(
                    f"{where}: its column holds {len(seen)} different values or "
                    "more, which is no group of patients; nothing of this page was taken in. Name another "
                    f'column, and run "laudos ingest --source {self._source_name} --full": it writes the '
                    f"groups of all reports anew, and forgets what earlier pages brought{so_many}"
                )


def _meant(name: str, value: object, meanings: Meanings) -> object:
    """What the settings say that the value means; the value itself where they are silent."""
    known = meanings.get(name)
    if not known or value is None:
        return value
    written = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return known.get(written, known.get(without_fraction(written), value))
