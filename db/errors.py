"""Every error laudos raises on purpose, in one tree.

    LaudosError                 the root: its message is safe to log and says what to do next
    ├── ConfigurationError      laudos.toml, the environment or a source's schema does not fit
    ├── NothingToWorkOn         a flow lacks what another flow must first provide
    ├── Busy                    another process holds what this one needs
    ├── ServerAway              Prefect's server does not answer, or with an error of its own
    ├── DatabaseFailure         the database said no; carries no statement parameters
    ├── DoneInPart              parts of a run failed; what the others did is kept
    ├── StaleLease              a worker lost its lease and must not write
    └── StepFailed              anything unforeseen, reduced to its type and where it happened

Messages hold names, ids and counts, never report text: they end up in logs and in Prefect.
`tasks.ml` knows none of this; its `MlError`s become LaudosErrors at the edge of a step.
"""

from __future__ import annotations


class LaudosError(Exception):
    """What was found, and what to do next. Safe to log."""

    exit_code = 1


class ConfigurationError(LaudosError):
    """The configuration, or the schema it points at, does not fit."""

    exit_code = 2


class NothingToWorkOn(LaudosError):
    """A flow lacks its input; the message names the command that provides it."""

    exit_code = 3


class Busy(LaudosError):
    """Another process holds the lock; trying later helps."""

    exit_code = 4


class ServerAway(LaudosError):
    """Prefect's server does not answer, or with an error of its own; trying later helps once it is back."""


class DatabaseFailure(LaudosError):
    """The database refused or vanished. `retryable` says whether trying again can help."""

    exit_code = 5

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class DoneInPart(LaudosError):
    """Parts of a run failed, each told in the message; what the others did is kept."""


class StaleLease(LaudosError):
    """Another worker took over this chunk; what this one computed must not be written."""


class StepFailed(LaudosError):
    """An unforeseen exception, reduced to its type and place: its message could quote a report."""
