"""Run every deployment on this machine: python -m deployments.serve, beside a Prefect server.

The server is the one in PREFECT_API_URL or the active profile; `make ui` starts one and then this.
"""

from __future__ import annotations

import sys

from tasks.errors import ConfigurationError, LaudosError
from tasks.settings.settings import Settings, prepare_environment


def main() -> None:
    """Register the deployments and run what is due until stopped, which pauses their schedules."""
    settings = Settings.load()
    prepare_environment(settings)
    # not before: Prefect reads the environment when it is imported
    import prefect
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise ConfigurationError('no Prefect server to serve for; run "make ui", or set PREFECT_API_URL')
    from deployments.schedules import deployments

    prefect.serve(*deployments(settings))


if __name__ == "__main__":
    try:
        main()
    except LaudosError as error:
        sys.exit(f"laudos: {error}")
