"""What the doctor finds: a promise, whether it is kept, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from db.doctor import SHOWN, Violation

# invariant: no kill, no cut line and no clock may ever break it
# house: what such a night leaves to be put in order; nothing that is stored is wrong
Kind = Literal["invariant", "house"]


@dataclass(frozen=True)
class Finding:
    """One promise and whether it is kept; `found` names ids and counts, `advice` what to do next."""

    name: str
    ok: bool
    found: str
    advice: str
    kind: Kind = "invariant"


def finding(
    name: str, holds: str, broken: Violation | None, found: str, advice: str, kind: Kind = "invariant"
) -> Finding:
    """The promise `holds`, kept where nothing is `broken`."""
    return (
        Finding(name, True, holds, "", kind) if broken is None else Finding(name, False, found, advice, kind)
    )


def violation(offenders: Sequence[str]) -> Violation | None:
    """Offenders that were found outside the database; None where there are none."""
    return Violation(tuple(offenders[:SHOWN]), len(offenders)) if offenders else None


def told(broken: Violation | None) -> str:
    """The first ids, and how many more there are."""
    if broken is None:
        return ""
    more = f" and {broken.count - len(broken.ids):,} more" if broken.count > len(broken.ids) else ""
    return ", ".join(broken.ids) + more
