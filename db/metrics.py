"""Every figure, with its interval: written once, read by reports and the monitor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from db.tables import metric


@dataclass(frozen=True)
class Metric:
    """One figure: whose (subject), on whom (population), on which part (slice)."""

    subject: str
    population: str
    slice: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int


def put(c: Connection, run_id: int, model_id: int | None, metrics: Iterable[Metric], now: datetime) -> int:
    """Write the figures in the caller's transaction; returns how many."""
    rows = [asdict(one) | {"run_id": run_id, "model_id": model_id, "at": now} for one in metrics]
    if rows:
        c.execute(insert(metric), rows)
    return len(rows)


def of_model(c: Connection, model_id: int, population: str = "holdout") -> list[Metric]:
    """The figures of a model and of the baselines beside it, from the latest run that measured them.

    None where that run found nothing left for them to stand on (`withdrawn`).
    """
    chosen = (metric.c.model_id == model_id) & (metric.c.population == population)
    latest = select(metric.c.run_id).where(chosen).order_by(metric.c.id.desc()).limit(1).scalar_subquery()
    rows = c.execute(select(metric).where(chosen, metric.c.run_id == latest).order_by(metric.c.id))
    found = [
        Metric(row.subject, row.population, row.slice, row.name, row.value, row.low, row.high, row.n)
        for row in rows
    ]
    return found if found != withdrawn(found) else []


def withdrawn(metrics: Iterable[Metric]) -> list[Metric]:
    """The same figures, standing on nothing."""
    return [replace(one, value=None, low=None, high=None, n=0) for one in metrics]


def latest(c: Connection, model_id: int, population: str) -> datetime | None:
    """When a model's figures of a population were written last."""
    mine = (metric.c.model_id == model_id, metric.c.population == population)
    moment: datetime | None = c.execute(select(func.max(metric.c.at)).where(*mine)).scalar_one()
    return moment


def summed(c: Connection, model_id: int, population: str, slice_: str) -> dict[str, tuple[float, int]]:
    """Name -> sum of its values and of what they stand on, over every run: for figures that are counts."""
    query = (
        select(metric.c.name, func.sum(metric.c.value), func.sum(metric.c.n))
        .where(metric.c.model_id == model_id, metric.c.population == population, metric.c.slice == slice_)
        .group_by(metric.c.name)
    )
    return {name: (float(value), int(n)) for name, value, n in c.execute(query)}
