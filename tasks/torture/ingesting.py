"""Processes that ingest: what the scenarios start, kill and confuse."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from sqlalchemy import Engine

from db.errors import Busy
from tasks.database import open_database
from tasks.ingest import ingest_from
from tasks.ledger import recorded_run
from tasks.settings import Settings
from tasks.torture.scratch import SOURCE

FULL_SHARE = 0.25  # of the ingests compare everything


def once(settings: Settings, tell: Connection, full: bool) -> None:
    """One ingest, as `laudos ingest` does it but for Prefect; tells when it begins."""
    engine = open_database(settings)
    tell.send("ready")
    ingest(engine, settings, full)


def on_and_on(settings: Settings, tell: Connection, seed: str) -> None:
    """One ingest after the other until killed; tells when each begins."""
    rng = random.Random(seed)
    engine = open_database(settings)
    while True:
        tell.send("ready")
        # a lock that a killed process held on PostgreSQL is free once the server has noticed
        try:
            ingest(engine, settings, full=rng.random() < FULL_SHARE)
        except Busy:
            time.sleep(0.005)


def ingest(engine: Engine, settings: Settings, full: bool) -> None:
    """Raises whatever an ingest raises."""
    with recorded_run(engine, settings, "ingest", exclusive="ingest") as run:
        ingest_from(engine, settings, SOURCE, run.id, full, datetime.now(UTC))
