"""The night in one look, read back from SQL: what a person wants to know in the morning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from db import metrics, models, monitoring, night, snapshots, status
from db.engine import reading, shown
from db.metrics import Metric
from db.monitoring import Cleared as Cleared
from db.monitoring import Decision, Refusal
from db.night import Read, Scored
from db.status import ClassifierStatus
from tasks.database import open_database
from tasks.errors import NothingToWorkOn
from tasks.ml.judging.evaluation import Figure as Figure
from tasks.ml.network.artifact import CAVEAT
from tasks.ml.pages.report_figures import FIRST_FIGURES as FIRST_FIGURES
from tasks.ml.pages.report_figures import SUBJECTS as SUBJECTS
from tasks.ml.pages.report_figures import by_name, where_baselines_win
from tasks.models.figures import figures_of
from tasks.night.status import candidate_told
from tasks.settings.settings import Settings, config_shown

POPULATIONS = ("holdout", "source")


@dataclass(frozen=True)
class Judged:
    """A model beside the baselines on one population: subject -> figure -> what was found.

    `better`: where a baseline is better than the model, in sentences; that none is, in one.
    """

    population: str
    model_id: int
    champion: bool
    figures: dict[str, dict[str, Figure]]
    better: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answering:
    """One classifier: the model judged last, what taught it, how it did, and what the champion answered.

    `judged`: the champion, and before it the challenger that was refused tonight.
    """

    status: ClassifierStatus
    critical: str
    taught_by: dict[str, dict[str, int]] = field(default_factory=dict)  # split -> label -> reports
    patients: dict[str, int] = field(default_factory=dict)  # split -> patients
    judged: tuple[Judged, ...] = ()


@dataclass(frozen=True)
class NightTold:
    """Everything the summary says. `took_s` is the run's time in seconds, None while it runs.

    `candidates`: models that met every rule and wait, a sentence each.
    """

    run_id: int
    took_s: float | None
    read: Sequence[Read]
    decisions: Sequence[Decision]
    scored: Sequence[Scored]
    classifiers: Sequence[Answering]
    quarantine: Sequence[Refusal]
    cleared: Cleared
    configuration: str
    database: str
    models: str
    reports: str
    caveat: str = CAVEAT
    candidates: Sequence[str] = ()

    @property
    def nothing_new(self) -> bool:
        """Whether the hospital had nothing to say and nothing had to be scored."""
        hospital = [one for one in self.read if one.kind == "database"]
        return not any(one.new or one.updated for one in hospital) and not any(s.written for s in self.scored)


def tell_last_night(settings: Settings) -> NightTold:
    """The summary of the nightly run begun last. Raises NothingToWorkOn before the first."""
    engine = open_database(settings)
    with reading(engine) as c:
        last = night.last_nightly(c)
        if last is None:
            raise NothingToWorkOn('there was no nightly run yet; run "laudos nightly"')
        decisions = monitoring.decisions(c, last.started_at)
        return NightTold(
            run_id=last.run_id,
            took_s=(last.ended_at - last.started_at).total_seconds() if last.ended_at else None,
            read=night.read_by(c, last.run_id),
            decisions=decisions,
            scored=night.scored_since(c, last.started_at),
            classifiers=[_answering(c, settings, name, decisions) for name in sorted(settings.classifiers)],
            quarantine=monitoring.waiting_in_quarantine(c),
            cleared=monitoring.cleared(c, last.started_at),
            configuration=config_shown(),
            database=shown(engine.url),
            models=str((settings.folder / "models").resolve()),
            reports=str((settings.folder / "reports").resolve()),
            candidates=[candidate_told(one, settings.zone) for one in status.candidates(c)],
        )


def judged_of(settings: Settings, model_id: int) -> list[Judged]:
    """One model beside the baselines, on every population it was judged on."""
    with reading(open_database(settings)) as c:
        champion = models.champion_of(c, models.existing(c, model_id).classifier)
        return _populations(c, model_id, champion.model.id if champion else None)


def _answering(c: Connection, settings: Settings, name: str, decisions: Sequence[Decision]) -> Answering:
    asked = settings.classifier(name)
    stands = status.classifier(c, name, asked.sources)
    refused = [one.model_id for one in decisions if one.classifier == name and one.decision == "refused"]
    shown = [model_id for model_id in dict.fromkeys([*refused[-1:], stands.champion]) if model_id is not None]
    if not shown:
        return Answering(stands, asked.critical)
    recipe = snapshots.existing(c, models.existing(c, shown[0]).snapshot_id).recipe
    judged = [one for model_id in shown for one in _populations(c, model_id, stands.champion)]
    return Answering(
        stands, asked.critical, recipe.get("reports", {}), recipe.get("patients", {}), tuple(judged)
    )


def _populations(c: Connection, model_id: int, champion: int | None) -> list[Judged]:
    measured = ((population, metrics.of_model(c, model_id, population)) for population in POPULATIONS)
    return [_judged(rows, population, model_id, champion) for population, rows in measured if rows]


def _judged(rows: Sequence[Metric], population: str, model_id: int, champion: int | None) -> Judged:
    found: dict[str, dict[tuple[str, str], Figure]] = {}
    for subject in ("model", *SUBJECTS):
        if theirs := figures_of(subject, rows):
            found[subject] = by_name(theirs)
    figures = {
        subject: {name: theirs[name, "all"] for name in FIRST_FIGURES if (name, "all") in theirs}
        for subject, theirs in found.items()
    }
    better = where_baselines_win(found, f"model {model_id}") if len(found) > 1 else []
    return Judged(population, model_id, model_id == champion, figures, tuple(better))
