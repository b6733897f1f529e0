"""Groups of patients out of what a hospital writes: few values of one spelling, and no date of birth.

A group serves slices and the fairness gate, which need no more than a band of ages.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from decimal import Decimal
from math import isfinite
from typing import Final

# bands of screening programmes: 40-49 and 50-69 are asked different questions of
AGE_BANDS: Final = ((0, "0-17"), (18, "18-39"), (40, "40-49"), (50, "50-59"), (60, "60-69"), (70, "70-79"))
OLDEST: Final = (80, "80 and over")  # one open band: who is very old is easily known by the age
AGE_MAX: Final = 120
NAME_MAX: Final = 64

# HL7 table 0001, FHIR AdministrativeGender, and how it is written in Portuguese
_SEX: Final = {
    **dict.fromkeys(("f", "fem", "feminino", "feminina", "female", "mulher"), "female"),
    **dict.fromkeys(("m", "masc", "masculino", "masculina", "male", "homem"), "male"),
    **dict.fromkeys(("o", "a", "x", "i", "outro", "other", "intersexo", "indeterminado"), "other"),
}
# the categories of IBGE (PNAD: cor ou raca) in one spelling; any other category stays as it is written
_RACE: Final = {
    **dict.fromkeys(("branca", "branco"), "branca"),
    **dict.fromkeys(("preta", "preto"), "preta"),
    **dict.fromkeys(("parda", "pardo"), "parda"),
    **dict.fromkeys(("amarela", "amarelo"), "amarela"),
    **dict.fromkeys(("indigena",), "indígena"),
}
_UNKNOWN: Final = frozenset(
    {
        *("", "-", "?", "ni", "n/i", "na", "n/a", "null", "none", "unknown", "not reported", "not available"),
        *("ignorado", "ignorada", "nao informado", "nao informada", "sem informacao", "nao declarado"),
        *("nao declarada", "desconhecido", "desconhecida"),
    }
)
# "45", "045Y" (DICOM's age string), "45 anos", "18 meses"
_AGE: Final = re.compile(r"0*(\d{1,5})\s*([a-zê]*)", re.IGNORECASE)
# how many of them are a year; DICOM writes 216M of who is 18, and so do systems for children
_A_YEAR: Final = {
    **dict.fromkeys(("", "y", "a", "ano", "anos", "year", "years"), 1.0),
    **dict.fromkeys(("m", "mes", "mês", "meses", "month", "months"), 12.0),
    **dict.fromkeys(("w", "semana", "semanas", "week", "weeks"), 365.25 / 7),
    **dict.fromkeys(("d", "dia", "dias", "day", "days"), 365.25),
}


def sex_of(value: object) -> str | None:
    """female, male or other; None where it is not known or no sex."""
    return _SEX.get(_folded(_written(value)))


def race_of(value: object) -> str | None:
    """The category in small letters, those of IBGE in one spelling; None where it is not known."""
    written = _written(value).casefold()
    folded = _folded(written)
    return None if folded in _UNKNOWN else _RACE.get(folded, written)


def institution_of(value: object) -> str | None:
    """The name, blanks made one, at most NAME_MAX characters; None where it is not known."""
    written = _written(value)
    return None if _folded(written) in _UNKNOWN else written


def age_band(years: object) -> str | None:
    """The band of an age, a number of years or text such as "45", "045Y" or "216M"; None for no age."""
    age = _years(years)
    if age is None or not 0 <= age <= AGE_MAX:
        return None
    return next((name for least, name in reversed((*AGE_BANDS, OLDEST)) if age >= least), None)


def age_band_at(birth: date | None, day: date | None) -> str | None:
    """The band of the age that who was born at `birth` had on `day`; None where either is not known."""
    if birth is None or day is None:
        return None
    return age_band(day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day)))


def _years(value: object) -> int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float | Decimal):
        return int(value) if isfinite(value) and value >= 0 else None
    found = _AGE.fullmatch(_written(value).removesuffix(".0"))
    a_year = _A_YEAR.get(found[2].casefold()) if found else None
    return int(int(found[1]) / a_year) if found and a_year else None


def _written(value: object) -> str:
    """As text that every database keeps: printable, one blank between words, cut at NAME_MAX."""
    if value is None or value != value or isinstance(value, bytes | bytearray | memoryview):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a numeric column with NULLs often arrives as a float
    shown = "".join(one if one.isprintable() else " " for one in unicodedata.normalize("NFC", str(value)))
    return " ".join(shown.split())[:NAME_MAX].strip()


def _folded(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(one for one in letters if not unicodedata.combining(one))
