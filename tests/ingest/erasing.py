"""What the tests of an erasure do, and hold afterwards."""

from __future__ import annotations

from db import doctor
from db.engine import reading
from tasks.upkeep.erase import Erasure, Request, erase
from tests.ingest.conftest import CANARY as CANARY
from tests.ingest.conftest import Desk

WHY = "request 17/2026"


def silent(_line: str) -> None:
    pass


def go(desk: Desk, *reports: str, patients: tuple[str, ...] = ()) -> Erasure:
    return erase(desk.settings, Request("his" if reports else None, reports, patients), "dpo", WHY, silent)


def sound(desk: Desk) -> None:
    with reading(desk.engine) as c:
        assert [one.name for one in doctor.INVARIANTS if doctor.violations(c, one.query())] == []
        assert doctor.broken_audit(c) is None
