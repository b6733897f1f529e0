"""The kinds of value laudos.toml knows beyond plain ones: durations, cron lines, ${NAME}, relative paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from db.errors import ConfigurationError

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)


def _duration(value: Any) -> Any:
    """'6h', '30min', '45s', '2d' or a number of seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d)\s*", value)
        if not match:
            raise ValueError("a duration looks like 45s, 30min, 6h or 2d")
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    return timedelta(seconds=value) if isinstance(value, (int, float)) else value


def _cron(line: str) -> str:
    """Five fields of numbers, names, ranges, lists and steps; or nothing at all."""
    fields = line.split()
    if not fields:
        return ""
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(f"a cron line has 5 fields, such as '0 2 * * *' (02:00 daily), not {len(fields)}")
    for field, (name, low, high, words) in zip(fields, _CRON_FIELDS, strict=True):
        if not all(_fits(part.lower(), low, high, words) for part in field.split(",")):
            raise ValueError(f"the {name} of a cron line lies between {low} and {high}, not {field!r}")
    return " ".join(fields)


def _fits(part: str, low: int, high: int, words: Mapping[str, int]) -> bool:
    match = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", part)
    if match is None:
        return False
    ends = [words.get(end, int(end) if end.isdecimal() else -1) for end in match.group(1, 2) if end]
    return all(low <= end <= high for end in ends) and ends == sorted(ends)


def zone_name(name: str) -> str:
    """A name the time zone database knows."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone is called {name!r}; America/Sao_Paulo is one") from None
    return name


class Strict(BaseModel):
    """A section: a key that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Share = Annotated[float, Field(ge=0, le=1)]
CronLine = Annotated[str, AfterValidator(_cron)]
ZoneName = Annotated[str, AfterValidator(zone_name)]
# of a Dask scheduler; no user and no password: it is shown with the run
Address = Annotated[str, Field(pattern=r"^[a-z]+://[A-Za-z0-9_.:\[\]-]{1,200}$")]


def expanded(value: Any, environment: Mapping[str, str], key: str = "") -> Any:
    """`value` with every ${NAME} in its strings replaced. Raises ConfigurationError naming both."""
    if isinstance(value, Mapping):
        return {
            name: expanded(inner, environment, f"{key}.{name}".lstrip(".")) for name, inner in value.items()
        }
    if isinstance(value, list):
        return [expanded(inner, environment, key) for inner in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        if match[1] not in environment:
            raise ConfigurationError(
                f"{key!r} needs ${{{match[1]}}}, which the environment does not have; export it"
            )
        # a password may hold an @ or a /, which would end it inside a URL
        is_login = "://" in value[: match.start()] and "@" in value[match.end() :]
        return quote(environment[match[1]], safe="") if is_login else environment[match[1]]

    return re.sub(r"\$\{([^}]*)\}", replacement, value)


def rooted_url(url: str, folder: Path) -> str:
    """A SQLite URL whose relative path starts at `folder`; any other URL as it is."""
    match = re.fullmatch(r"(sqlite(?:\+\w+)?):///([^?]+)(\?.*)?", url)
    if match is None or match[2] == ":memory:" or match[2].startswith("file:"):
        return url
    return f"{match[1]}:///{folder / Path(match[2]).expanduser()}{match[3] or ''}"
