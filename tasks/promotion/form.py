"""Asking Prefect for a run whose form decides about a model: where a server and the deployment are there."""

from __future__ import annotations

import logging

from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from db import candidates
from db.engine import reading
from tasks.database import open_database
from tasks.promotion.approval import pending_of
from tasks.settings.settings import Settings, prefect_server

log = logging.getLogger(__name__)

DEPLOYMENT = "approve/by-form"


def offer_form(settings: Settings, model_id: int) -> bool:
    """Start a run that suspends itself until a person decides; False where none waits or nobody would run it.

    One form a candidacy, however often it is asked for. Never waits, and never fails the night: the commands
    decide as well.
    """
    if prefect_server() is None:
        return False
    try:
        one = pending_of(open_database(settings), model_id)
        if one.state != "waiting":
            return False
        run_deployment(
            DEPLOYMENT,
            parameters={"model_id": model_id},
            timeout=0,
            as_subflow=False,
            # numbers begin anew in another database, and a server may serve several
            idempotency_key=f"candidate-{one.id}-{one.since.isoformat()}",
        )
    except ObjectNotFound:
        log.info("no deployment %s: model %d is decided about by command", DEPLOYMENT, model_id)
        return False
    except Exception as failed:
        log.warning("no form for model %d: %s", model_id, type(failed).__name__)
        return False
    return True


def offer_forms(settings: Settings) -> None:
    """A form for each model that waits and has none: its night had no server, or its champion was found
    damaged, which leaves to a person who scored along with it.
    """
    with reading(open_database(settings)) as c:
        waiting = [one.model_id for one in candidates.pending(c) if one.state == "waiting"]
    for model_id in waiting:
        offer_form(settings, model_id)
