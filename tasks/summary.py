"""The night in one look, read back from SQL: what a person wants to know in the morning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from db import metrics, models, monitoring, night, snapshots, status
from db.engine import reading
from db.metrics import Metric
from db.monitoring import Decision, Refusal
from db.night import Read, Scored
from db.status import ClassifierStatus
from tasks.database import open_database
from tasks.errors import NothingToWorkOn
from tasks.ml.artifact import CAVEAT
from tasks.settings import Settings, config_path

# figure's name -> words; and the subject's name -> words, the model first
FIGURES = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auroc_report": "AUROC per report",
    "auroc_patient": "AUROC per patient",
}
SUBJECTS = {
    "model": "this model",
    "tfidf_word": "TF-IDF, words",
    "tfidf_char": "TF-IDF, characters",
    "measurements": "measurements (ceiling)",
    "keyword_rule": "keyword rule",
    "majority": "most frequent label",
}


@dataclass(frozen=True)
class Figure:
    """One cell: value and 95 % interval over patients; None where it cannot be computed."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Judged:
    """The champion beside the baselines on one population: subject -> figure -> what was found."""

    population: str
    figures: dict[str, dict[str, Figure]]


@dataclass(frozen=True)
class Answering:
    """One classifier: its champion, what taught it, how it was judged, and what it has answered."""

    status: ClassifierStatus
    critical: str
    taught_by: dict[str, dict[str, int]] = field(default_factory=dict)  # split -> label -> reports
    patients: dict[str, int] = field(default_factory=dict)  # split -> patients
    judged: tuple[Judged, ...] = ()


@dataclass(frozen=True)
class NightTold:
    """Everything the summary says. `took_s` is the run's time in seconds, None while it runs."""

    run_id: int
    took_s: float | None
    read: Sequence[Read]
    decisions: Sequence[Decision]
    scored: Sequence[Scored]
    classifiers: Sequence[Answering]
    quarantine: Sequence[Refusal]
    configuration: str
    database: str
    models: str
    caveat: str = CAVEAT

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
        return NightTold(
            run_id=last.run_id,
            took_s=(last.ended_at - last.started_at).total_seconds() if last.ended_at else None,
            read=night.read_by(c, last.run_id),
            decisions=monitoring.decisions(c, last.started_at),
            scored=night.scored_since(c, last.started_at),
            classifiers=[_answering(c, settings, name) for name in sorted(settings.classifiers)],
            quarantine=monitoring.waiting_in_quarantine(c),
            configuration=str(config_path().resolve()),
            database=engine.url.render_as_string(hide_password=True),
            models=str((settings.folder / "models").resolve()),
        )


def _answering(c: Connection, settings: Settings, name: str) -> Answering:
    asked = settings.classifier(name)
    stands = status.classifier(c, name, asked.sources)
    champion = models.champion_of(c, name)
    if champion is None:
        return Answering(stands, asked.critical)
    snapshot = snapshots.get(c, champion.model.snapshot_id)
    recipe = snapshot.recipe if snapshot else {}
    judged = [
        Judged(population, table)
        for population in ("holdout", "source")
        if (table := _table(metrics.of_model(c, champion.model.id, population)))
    ]
    return Answering(
        stands, asked.critical, recipe.get("reports", {}), recipe.get("patients", {}), tuple(judged)
    )


def _table(rows: Sequence[Metric]) -> dict[str, dict[str, Figure]]:
    found = {
        (row.subject, row.name): Figure(row.value, row.low, row.high, row.n)
        for row in rows
        if row.slice == "all" and row.name in FIGURES
    }
    return {
        subject: {name: found[subject, name] for name in FIGURES if (subject, name) in found}
        for subject in SUBJECTS
        if any((subject, name) in found for name in FIGURES)
    }
