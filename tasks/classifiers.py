"""Which classifier is meant, who answers for it, and what is done for one or for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from db import models
from db.errors import ConfigurationError, LaudosError, NothingToWorkOn
from db.models import Champion
from tasks.settings.settings import Settings

Summary = TypeVar("Summary")


def the_classifier(settings: Settings, name: str | None) -> str:
    """The one that was named, or the only one there is."""
    if name is None and len(settings.classifiers) == 1:
        return next(iter(settings.classifiers))
    if name is None:
        known = ", ".join(sorted(settings.classifiers)) or "none is configured"
        raise ConfigurationError(f"which classifier? Say --classifier NAME ({known})")
    settings.classifier(name)
    return name


def the_champion(c: Connection, classifier: str) -> Champion:
    """Who answers now. Raises NothingToWorkOn where nobody does."""
    champion = models.champion_of(c, classifier)
    if champion is None:
        tried = models.of_classifier(c, classifier)
        if tried:
            raise NothingToWorkOn(
                f'no promoted model for {classifier!r}; "laudos models show {tried[0].id}" says what the '
                'last one lacks, and "laudos retrain" tries another'
            )
        raise NothingToWorkOn(f'no promoted model for {classifier!r}; run "laudos retrain" first')
    return champion


def each_classifier(
    settings: Settings,
    name: str | None,
    work: Callable[[str], Summary],
    failed: Callable[[str, LaudosError], Summary],
) -> list[Summary]:
    """What became of the classifier that was named, or of each; one that fails does not stop the others.

    Raises what the first one raised where all failed, NothingToWorkOn where none is configured.
    """
    names = list(settings.classifiers) if name is None else [name]
    if not names:
        raise NothingToWorkOn(
            "no classifier is configured; write one into laudos.toml (laudos init shows how)"
        )
    summaries: list[Summary] = []
    failures: list[LaudosError] = []
    for one in names:
        try:
            summaries.append(work(one))
        except LaudosError as failure:
            failures.append(failure)
            summaries.append(failed(one, failure))
    if len(failures) == len(names):
        raise failures[0]
    return summaries
