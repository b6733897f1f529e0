"""The errors a person may see: what flows and the command line catch, and how anything else is reduced.

Whatever leaves laudos is a LaudosError, whose message is safe to show. An unforeseen exception could
quote a report in its message, so only its type and the line of ours where it happened are told.
"""

from __future__ import annotations

from types import TracebackType

from db.errors import (
    Busy,
    ConfigurationError,
    DatabaseFailure,
    DoneInPart,
    LaudosError,
    NothingToWorkOn,
    ServerAway,
    StepFailed,
)
from tasks.ml.disk import is_full
from tasks.ml.errors import MlError

__all__ = [
    "Busy",
    "ConfigurationError",
    "DatabaseFailure",
    "DoneInPart",
    "LaudosError",
    "NothingToWorkOn",
    "ServerAway",
    "StepFailed",
    "safe_form",
    "trail",
]

DISK_FULL = "the disk is full; free some space and run again, what was finished is kept"
_OURS = {"flows", "tasks", "db", "deployments"}


def safe_form(error: Exception) -> LaudosError:
    """The error itself where its message is safe by contract; else its type and place."""
    if isinstance(error, LaudosError):
        return error
    if isinstance(error, MlError):
        return LaudosError(str(error))
    if is_full(error):
        return LaudosError(DISK_FULL)
    places = [place for module, place in _frames(error.__traceback__) if module.split(".", 1)[0] in _OURS]
    where = f" at {places[-1]}" if places else ""
    return StepFailed(f"unforeseen {type(error).__name__}{where}")


def trail(error: BaseException) -> list[str]:
    """The way an error took, outermost first: types, files and lines; no message and no value."""
    lines = [place for _, place in _frames(error.__traceback__)] + [type(error).__name__]
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return [*trail(earlier), "then", *lines] if earlier is not None else lines


def _frames(trace: TracebackType | None) -> list[tuple[str, str]]:
    """Of each frame: its module, and "module:line in function"."""
    frames = []
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", "?"))
        frames.append((module, f"{module}:{trace.tb_lineno} in {trace.tb_frame.f_code.co_name}"))
        trace = trace.tb_next
    return frames
