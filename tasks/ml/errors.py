"""What can go wrong while learning or reading a model; messages hold ids and counts, never text."""

from __future__ import annotations


class MlError(Exception):
    """Root of tasks.ml's errors: safe to show, says what to do next."""


class Unreadable(MlError):
    """A report that cannot be taken in; `reason` is a fixed word for the quarantine."""

    def __init__(self, reason: str, **counts: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.counts = counts


class BrokenArtifact(MlError):
    """A model folder that is half-written, altered or of an unknown format."""


class ClosedArtifact(BrokenArtifact):
    """A model folder that this user may not read: another user's, and perhaps whole."""


class UnfitData(MlError):
    """A training set that cannot teach: a class without examples, one patient only, no text."""


class UnfitEncoder(MlError):
    """An encoder that may not or cannot be loaded."""


class BackendUnavailable(MlError):
    """A back end that this machine cannot run, or that cannot run this network."""


class DiskFull(MlError):
    """The disk takes no more; the message names the folder."""


class TrainingDiverged(MlError):
    """The loss is no longer a number; the message names the step."""
