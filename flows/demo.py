"""`laudos demo`: a made-up hospital, and the real nightly run on it."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from flows.cli_summary import print_night
from tasks.settings import Settings, overrule_environment, prepare_environment

_SEED = 0


def demo(folder: Path) -> None:
    """Make the hospital where there is none, run one night, and say what came of it.

    Run again, it is the second night: nothing is new unless the hospital's table was changed.
    """
    from tasks.demo import make_hospital, write_demo_settings

    console = Console(stderr=True)
    configuration = write_demo_settings(folder)
    overrule_environment(config=configuration, verbose=False, debug=False)
    settings = Settings.load()
    prepare_environment(settings)
    hospital = folder / "hospital.db"
    if not hospital.exists():
        made = make_hospital(hospital, seed=_SEED, now=datetime.now(UTC))
        console.print(
            f"A hospital with {made.rows:,} reports of {made.patients:,} patients stands in {hospital}; "
            f"{made.broken} rows have something wrong with them, {made.with_result:,} bear a result."
        )
    console.print("One night: ingest, synthesize, retrain, classify, monitor. A few minutes.")
    from flows.nightly import nightly  # Prefect reads the environment prepared above when it is imported
    from tasks.summary import tell_last_night

    try:
        nightly()
    finally:
        # a night of which a part failed has still done the rest
        print_night(tell_last_night(settings), commands=_commands(configuration))


def _commands(configuration: Path) -> list[str]:
    laudos = f"laudos --config {shlex.quote(str(configuration))}"
    text = "Núcleos volumosos, anisocariose acentuada, cromatina grosseira, macronucléolos."
    return [
        f"{laudos} nightly              # a second night: nothing is new, nothing is encoded",
        f'{laudos} predict "{text}"',
        f"{laudos} quarantine list      # what could not be read, and why",
        f"{laudos} models list          # who answers, and how it got there",
    ]
