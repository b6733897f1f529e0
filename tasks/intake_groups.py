"""The groups of patients that a source's columns tell of, as laudos keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

from db.errors import ConfigurationError
from db.groups import Groups
from db.source_reader import SourceRow
from db.source_values import as_date
from tasks.ml.patient_groups import age_band, age_band_at, institution_of, race_of, sex_of

# of one column on one page: what has more is a name or a number of the patient's, and must not come in
VALUES_A_PAGE_MAX: Final = 200

Meanings = Mapping[Any, Mapping[str, str]]  # sex, race or institution -> value at the source -> what it means


def groups_of(read: SourceRow, meanings: Meanings) -> Groups | None:
    """What the row tells of its patient; None where the source has no such columns.

    An age at a date of birth is that on the report's date, else on the day the row changed.
    """
    if not read.groups:
        return None
    said = {name: _meant(name, value, meanings) for name, value in read.groups.items()}
    day: date | None = read.date or (read.updated_at.date() if read.updated_at else None)
    return Groups(
        sex=sex_of(said.get("sex")),
        age_band=age_band(said.get("age")) or age_band_at(as_date(said.get("birth_date")), day),
        race=race_of(said.get("race")),
        institution=institution_of(said.get("institution")),
    )


def refuse_names(source_name: str, page: Iterable[Groups | None]) -> None:
    """Raise ConfigurationError where a column that should hold groups holds something else, such as names."""
    seen: dict[str, set[str | None]] = {"race": set(), "institution": set()}
    for one in page:
        if one is not None:
            seen["race"].add(one.race)
            seen["institution"].add(one.institution)
    for name, values in seen.items():
        if len(values) > VALUES_A_PAGE_MAX:
            raise ConfigurationError(
                f"sources.{source_name}.{name}: its column holds {len(values)} different values on one page, "
                f"which is no group of patients; name another column (nothing of the page was taken in)"
            )


def _meant(name: str, value: object, meanings: Meanings) -> object:
    """What the settings say that the value means; the value itself where they are silent."""
    known = meanings.get(name)
    if not known or value is None:
        return value
    written = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return known.get(written, value)
