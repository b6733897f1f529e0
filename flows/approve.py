"""A form in Prefect's UI for a model that met every rule and waits for a person.

The run suspends itself at once: no process waits. Prefect starts it again when the form is sent. What was
decided by command meanwhile stands, and the run says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from tasks.database import open_database
from tasks.pages.after_waiting import renew_pages
from tasks.promotion.approval import Approval, decide_on, pending_of
from tasks.settings.settings import Settings
from tasks.step import flow

FORM = """
Model **{model_id}** for **{classifier}** met every rule of the plan and waits for a person until {until} UTC.

Read its page `model-{model_id}` (artifacts, or laudos models show {model_id}) before you decide. What is
entered here is kept by Prefect: name yourself, and nobody else.
"""


class Decision(RunInput):
    """What the form asks. Why is chosen, not written: free words could name a patient."""

    decision: Literal["approve", "refuse"]
    by: str = Field(min_length=1, max_length=64, pattern=r"^[\w .@-]+$", description="your login or name")
    because: Literal[
        "its report was read",
        "its report and the answers it would change were read",
        "its figures are not good enough here",
        "not now",
    ] = "its report was read"


@flow("approve", run_name="approve model {model_id}")
def approve(model_id: int) -> Approval:
    """Suspend until the form is filled in, and do what it says.

    Raises LaudosError where the model does not wait, and where it was decided about meanwhile.
    """
    settings = Settings.load()
    engine = open_database(settings)
    one = pending_of(engine, model_id)
    left_s = int((one.until - datetime.now(UTC)).total_seconds())
    form = FORM.format(model_id=model_id, classifier=one.classifier, until=f"{one.until:%Y-%m-%d %H:%M}")
    said = suspend_flow_run(
        wait_for_input=Decision.with_initial_data(description=form),
        timeout=max(left_s, 1),
        key=f"candidate-{one.id}",
    )
    decision: Literal["accepted", "refused"] = "accepted" if said.decision == "approve" else "refused"
    decided = decide_on(engine, settings, model_id, decision, said.by, said.because, datetime.now(UTC))
    renew_pages(engine, settings)
    return decided
