"""`step` and `flow`: Prefect's decorators with every door closed through which report text could leave.

Prefect keeps parameters, exceptions (message, traceback and, pickled, the object) and results.
So a step takes and returns ids and counts; nothing is persisted; and an exception leaves either
as a LaudosError, whose message is safe by contract, or reduced to its type and place.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints
from zoneinfo import ZoneInfo

import httpx
import prefect
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TagsContext
from prefect.flows import Flow
from prefect.runtime import flow_run
from prefect.tasks import Task
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from db.errors import ConfigurationError, DatabaseFailure, LaudosError, ServerAway, StepFailed
from tasks.errors import DISK_FULL
from tasks.ml.disk import is_full
from tasks.ml.errors import MlError
from tasks.settings.settings import NAME, Settings
from tasks.stopping import heed_stop

P = ParamSpec("P")
R = TypeVar("R")

# What a flow may be given besides numbers and booleans: a name out of laudos.toml, nothing longer.
# Deployments show the pattern in their form, and the server refuses what does not match it.
Name = Annotated[str, Field(pattern=NAME)]

SERVER_ADVICE = (
    "start the one that PREFECT_API_URL or the active profile names, or unset it: each command then starts "
    "one of its own"
)
LOGIN_ADVICE = "put what it asks for into PREFECT_API_AUTH_STRING (or PREFECT_API_KEY)"
LOG_ADVICE = "its log says why; see that its disk has room and that it is of this Prefect's version"


def sealed(where: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only safe exceptions out of the function: no report text, no cause, no context."""

    def decorate(body: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(body) or inspect.isgeneratorfunction(body):
            raise TypeError(f"{where} must be a plain function: an async one would run outside the seal")

        @functools.wraps(body)
        def closed(*args: P.args, **kwargs: P.kwargs) -> R:
            heed_stop()
            try:
                done = body(*args, **kwargs)
            except LaudosError as error:
                # a fresh object of the same class: the caught one holds a traceback with frames full of rows
                safe = _bare(error)
            except MlError as error:
                safe = LaudosError(str(error))
            except (Exception, SystemExit) as error:
                unforeseen = StepFailed(f"{type(error).__name__} in {where}{_line_of(error)}")
                safe = LaudosError(DISK_FULL) if is_full(error) else unforeseen
            except BaseException as interrupt:
                # Ctrl-C and Prefect's own signals pass, but not what they interrupted
                interrupt.__cause__ = interrupt.__context__ = None
                raise
            else:
                heed_stop()
                return done
            heed_stop()  # what failed, failed because it was stopped
            raise safe

        return closed

    return decorate


def step(
    where: str, *, run_name: str | None = None, retries: int = 0, retry_delay_s: float = 5.0
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A Prefect task that takes and returns ids and counts.

    `run_name` is a template over the parameters, such as "train {classifier}".
    `retries` only repeats what a repetition can help: a database that was locked or away.
    """

    def decorate(body: Callable[P, R]) -> Task[P, R]:
        return UntaggedTask(
            sealed(where)(body),
            name=where,
            task_run_name=run_name,
            persist_result=False,
            cache_policy=NO_CACHE,
            log_prints=False,
            retries=retries,
            retry_delay_seconds=retry_delay_s,
            retry_condition_fn=_worth_repeating if retries else None,
        )

    return decorate


class UntaggedTask(Task[P, R]):
    """A task whose runs bear no tags; those of its flow run are found by them.

    For each tag of a task run Prefect asks its server for a slot. A server on SQLite then mostly meets
    its own writing ("database is locked", 503), and the client asks again two seconds later.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with TagsContext(current_tags=set()):
            return _naming_server(super().__call__, *args, **kwargs)


class LaudosFlow(Flow[P, R]):
    """A flow that refuses unfit parameters before Prefect has stored them, and quotes no value of theirs.

    Called from the command or another flow, it and the flows within it bear the tags "laudos" and its name.
    """

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        with prefect.tags("laudos", self.name):
            try:
                return _naming_server(super().__call__, *args, **kwargs)
            finally:
                heed_stop()

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What Prefect is about to store with the run. Raises ConfigurationError."""
        return super().serialize_parameters(self.validate_parameters(parameters))

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters, converted and complete. Raises ConfigurationError, quoting no value."""
        expected = _model_of(self.fn)
        try:
            given = expected.model_validate(parameters)
        except ValidationError as error:
            unfit = {str(problem["loc"][0]) for problem in error.errors(include_input=False)}
        else:
            return {name: getattr(given, name) for name in expected.model_fields}
        # a key that is no parameter may hold anything: it is counted, not quoted
        known = sorted(unfit & expected.model_fields.keys())
        raise ConfigurationError(
            f"{self.name}: {', '.join(known) or 'a parameter it does not have'} cannot be taken as given; "
            f"it takes {', '.join(expected.model_fields) or 'none'}, where a name is one out of laudos.toml"
        )


def flow(name: str, *, run_name: str, **options: Any) -> Callable[[Callable[P, R]], LaudosFlow[P, R]]:
    """A Prefect flow whose parameters are checked first and whose exceptions are safe.

    `run_name` is a template over the parameters and {day} of the hospital, such as "ingest {source} {day}";
    a parameter that was left out reads "all".
    """

    def decorate(body: Callable[P, R]) -> LaudosFlow[P, R]:
        return LaudosFlow(
            sealed(name)(body),
            name=name,
            flow_run_name=functools.partial(_run_name, run_name),
            persist_result=False,
            log_prints=False,
            **options,
        )

    return decorate


def _naming_server(call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """What Prefect's `call` returns; raises ServerAway where its server is, LaudosError where it refuses.

    None of what Prefect raises then comes out of a body of ours: those are sealed.
    """
    kind: type[LaudosError] = ServerAway
    try:
        return call(*args, **kwargs)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        what = f"answers with an error ({status}); {LOGIN_ADVICE if status in (401, 403) else LOG_ADVICE}"
        kind = ServerAway if status >= 500 else LaudosError
    except httpx.TransportError as error:
        what = f"does not answer ({type(error).__name__}); {SERVER_ADVICE}"
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        what = f"does not answer ({type(error.__cause__ or error).__name__}); {SERVER_ADVICE}"
    raise kind(f"Prefect's server {what}")


def prefect_run_id() -> str | None:
    """Where to look in the Prefect UI; None outside a flow."""
    return flow_run.get_id()


def _model_of(body: Callable[..., Any]) -> type[BaseModel]:
    hints = get_type_hints(body, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(body).parameters.items()
    }
    config = ConfigDict(extra="forbid", protected_namespaces=())
    return create_model("Parameters", __config__=config, **fields)


def _run_name(template: str) -> str:
    context = FlowRunContext.get()
    given = (context and context.parameters) or {}
    told = {name: "all" if value is None else value for name, value in given.items()}
    return template.format(day=flow_run.get_scheduled_start_time().astimezone(_zone()).date(), **told)


def _zone() -> ZoneInfo | None:
    """The hospital's; the machine's (None) where settings are not sound, which the flow itself tells."""
    with suppress(ConfigurationError):
        return Settings.load().zone
    return None


def _bare(error: LaudosError) -> LaudosError:
    bare = type(error).__new__(type(error))
    Exception.__init__(bare, str(error))
    bare.__dict__.update(error.__dict__)
    return bare


def _worth_repeating(_task: Any, _run: Any, state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, DatabaseFailure) and error.retryable


def _line_of(error: BaseException) -> str:
    """File and line of ours where it happened: enough to debug by, and no text."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.split(".", 1)[0] in {"flows", "tasks", "db"} and module != __name__:
            place = f" ({module}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place
