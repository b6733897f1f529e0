"""`step` and `flow`: Prefect's decorators with every door closed through which report text could leave.

Prefect keeps parameters, exceptions (message, traceback and, pickled, the object) and results.
So a step takes and returns ids and counts; nothing is persisted; and an exception leaves either
as a LaudosError, whose message is safe by contract, or reduced to its type and place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.flows import Flow
from prefect.tasks import Task
from pydantic import Field

from db.errors import DatabaseFailure, LaudosError, StepFailed
from tasks.ml.errors import MlError

P = ParamSpec("P")
R = TypeVar("R")

# What a flow may be given besides numbers and booleans: a name out of laudos.toml, nothing longer
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


def sealed(where: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only safe exceptions out of the function: no report text, no cause, no context."""

    def decorate(body: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(body)
        def closed(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return body(*args, **kwargs)
            except LaudosError as error:
                # a fresh object of the same class: the caught one holds a traceback with frames full of rows
                safe = _bare(error)
            except MlError as error:
                safe = LaudosError(str(error))
            except Exception as error:
                safe = StepFailed(f"{type(error).__name__} in {where}{_line_of(error)}")
            raise safe

        return closed

    return decorate


def step(
    where: str, *, retries: int = 0, retry_delay_s: float = 5.0
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A Prefect task that takes and returns ids and counts.

    `retries` only repeats what a repetition can help: a database that was locked or away.
    """

    def decorate(body: Callable[P, R]) -> Task[P, R]:
        return prefect.task(
            name=where,
            persist_result=False,
            cache_policy=NO_CACHE,
            log_prints=False,
            retries=retries,
            retry_delay_seconds=retry_delay_s,
            retry_condition_fn=_worth_repeating if retries else None,
        )(sealed(where)(body))

    return decorate


class LaudosFlow(Flow[P, R]):
    """A flow that refuses unfit parameters before Prefect has stored them."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        refused = False
        try:
            self.validate_parameters(prefect.utilities.callables.get_call_parameters(self.fn, args, kwargs))
        except Exception:
            refused = True
        if refused:
            raise LaudosError(f"{self.name}: a parameter does not fit; see laudos {self.name} --help")
        return super().__call__(*args, **kwargs)


def flow(
    name: str, *, run_name: str, **options: Any
) -> Callable[[Callable[P, R]], LaudosFlow[P, R]]:
    """A Prefect flow whose parameters are checked first and whose exceptions are safe."""

    def decorate(body: Callable[P, R]) -> LaudosFlow[P, R]:
        return LaudosFlow(
            sealed(name)(body),
            name=name,
            flow_run_name=run_name,
            persist_result=False,
            log_prints=False,
            **options,
        )

    return decorate


def _bare(error: LaudosError) -> LaudosError:
    bare = type(error).__new__(type(error))
    Exception.__init__(bare, str(error))
    bare.__dict__.update(error.__dict__)
    return bare


def _worth_repeating(_task: Any, _run: Any, state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, DatabaseFailure) and error.retryable


def _line_of(error: Exception) -> str:
    """File and line of ours where it happened: enough to debug by, and no text."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.split(".", 1)[0] in {"flows", "tasks", "db"} and module != __name__:
            place = f" ({module}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place
