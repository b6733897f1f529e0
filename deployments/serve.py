"""Run every deployment on this machine: python -m deployments.serve [--alone], beside a Prefect server.

The server is the one in PREFECT_API_URL or the active profile; `make ui` starts one and then this.
"""

from __future__ import annotations

import argparse
import sys

from tasks.errors import ConfigurationError, LaudosError
from tasks.settings.settings import Settings, prepare_environment


def main() -> None:
    """Register the deployments and run what is due until stopped, which pauses their schedules."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument(
        "--alone",
        action="store_true",
        help="nobody else serves them on that server: what it still holds for under way is dead, and crashed",
    )
    given = asked.parse_args()
    settings = Settings.load()
    prepare_environment(settings)
    # not before: Prefect reads the environment when it is imported
    import prefect
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        raise ConfigurationError('no Prefect server to serve for; run "make ui", or set PREFECT_API_URL')
    from deployments.schedules import deployments

    if given.alone:
        end_what_died()
    prefect.serve(*deployments(settings))


def end_what_died() -> None:
    """Mark as crashed what served deployments left under way, and the flows within: no process is at it.

    Prefect never finds that out by itself, and counts the dead run as its deployment's one at a time.
    """
    from prefect import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    under_way = filters.FlowRunFilterState(
        type=filters.FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    )
    served = filters.FlowRunFilter(
        state=under_way,
        deployment_id=filters.FlowRunFilterDeploymentId(is_null_=False),
    )
    with get_client(sync_client=True) as client:
        # a work pool has workers of its own
        dead = [run for run in client.read_flow_runs(flow_run_filter=served) if run.work_queue_id is None]
        parents = filters.FlowRunFilterParentFlowRunId(any_=[run.id for run in dead])
        within = filters.FlowRunFilter(state=under_way, parent_flow_run_id=parents)
        for run in [*client.read_flow_runs(flow_run_filter=within), *dead]:
            client.set_flow_run_state(run.id, Crashed(message="its process ended without a word"), force=True)


if __name__ == "__main__":
    try:
        main()
    except LaudosError as error:
        sys.exit(f"laudos: {error}")
