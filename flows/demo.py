"""`laudos demo`: a made-up hospital, and the real nightly run on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from flows.cli.session import show, wake_prefect
from flows.cli.summary import next_commands, print_night
from tasks.settings.settings import Settings, overrule_environment, prepare_environment

_SEED = 0


def demo(folder: Path, as_json: bool = False) -> None:
    """Make the hospital where there is none, run one night, and say what came of it.

    Run again, it is the second night: nothing is new unless the hospital's table was changed. With
    `as_json` the night is told as one JSON document.
    """
    from tasks.demo.demo import make_hospital, write_demo_settings

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
    wake_prefect()
    from flows.nightly import nightly  # Prefect reads the environment prepared above when it is imported
    from tasks.night.summary import tell_last_night

    try:
        nightly()
    finally:
        # a night of which a part failed has still done the rest
        told = tell_last_night(settings)
        show(told, as_json, lambda one: print_night(one, commands=next_commands(told)))
