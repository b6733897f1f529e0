"""What the nightly run needs besides its flows: one part's failure does not stop the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar

from db.engine import reading
from tasks.classifiers import the_champion
from tasks.database import open_database
from tasks.errors import Busy, ConfigurationError, LaudosError, NothingToWorkOn, ServerAway
from tasks.settings.settings import Settings, config_shown

P = ParamSpec("P")
R = TypeVar("R")


def require_something_to_do(settings: Settings) -> None:
    """Raises ConfigurationError where neither a source nor a classifier is named: a night that does nothing
    would end as one in which nothing was new, and whoever started it in the wrong folder would never know."""
    if not settings.sources and not settings.classifiers:
        raise ConfigurationError(
            f"neither a source nor a classifier is configured, so there is nothing to do; read was "
            f"{config_shown()}; name the right file with --config or LAUDOS_CONFIG, or write one: "
            '"laudos init"'
        )


def answered_for(classifier: str, settings: Settings) -> str:
    """The classifier again, where a model answers for it: without one a scoring fails, which is no failure
    of a first night whose challenger was refused. Raises NothingToWorkOn where none does."""
    with reading(open_database(settings)) as c:
        the_champion(c, classifier)
    return classifier


@dataclass
class Attempts:
    """Runs the parts of a night one after the other, and remembers what could not be done.

    skipped: a part lacked its input, such as labels that have not come yet; normal on the first nights.
    failed: anything else. Both hold whole sentences, safe to show.
    """

    # an hourly ingest may still be at work, or Prefect's server may be starting again: wait for it
    patience_s: float = 600.0
    pause_s: float = 15.0
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    # the server is one for all parts: where it stays away, they do not each wait for it anew
    _server_until: float | None = field(default=None, init=False)

    def each(
        self,
        what: str,
        part: Callable[Concatenate[str, P], R],
        names: Iterable[str],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> list[R]:
        """The part once a name: the results of those that could be done."""
        return [done for name in names for done in self(f"{what} {name}", part, name, *args, **kwargs)]

    def __call__(self, what: str, part: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """The part's result as a list of one; of none where it was skipped or failed."""
        deadline = time.monotonic() + self.patience_s
        while True:
            try:
                done = part(*args, **kwargs)
                self._server_until = None
                return [done]
            except NothingToWorkOn as lacking:
                self.skipped.append(f"{what}: {lacking}")
            except (Busy, ServerAway) as passing:
                # a part that had begun does no harm when it is run again: what it committed stays
                if isinstance(passing, ServerAway):
                    deadline = self._server_until = self._server_until or time.monotonic() + self.patience_s
                if time.monotonic() < deadline:
                    time.sleep(self.pause_s)
                    continue
                self.failed.append(f"{what}: {passing}")
            except LaudosError as failure:
                self.failed.append(f"{what}: {failure}")
            return []
