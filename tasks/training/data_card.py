"""A training set's data card: as files in <folder>/reports, in the Prefect UI, and beside an export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import Connection, Engine

from db import data_card as rows
from db import snapshots, synthetic_sets
from db.data_card import FromSource
from db.engine import reading
from db.snapshots import Snapshot
from tasks.artifacts import publish_data_card
from tasks.database import open_database
from tasks.ml.pages.data_card import Card, Cell, DataCard, Dated, Written, data_card
from tasks.ml.synthesis.report_ids import parsed
from tasks.model_folders import data_card_path, write_atomically
from tasks.settings.settings import Settings
from tasks.step import step


@step("describe training set", run_name="describe training set {snapshot_id}", retries=2)
def write_data_card(snapshot_id: int) -> bool:
    """Write the card where the set's does not stand; returns whether it did. A frozen set's never changes."""
    settings = Settings.load()
    engine = open_database(settings)
    with reading(engine) as c:
        snapshot = snapshots.existing(c, snapshot_id)
    standing = data_card_path(settings, snapshot_id, "html")
    # one with another hash is of the set that bore the number before a restore
    if standing.exists() and snapshot.sha in standing.read_text("utf-8"):
        return False
    card = card_of(engine, snapshot_id)
    write_atomically(data_card_path(settings, snapshot_id, "md"), card.markdown.encode())
    write_atomically(data_card_path(settings, snapshot_id, "html"), card.html.encode())
    publish_data_card(snapshot_id, card.markdown)
    return True


def card_of(engine: Engine, snapshot_id: int) -> DataCard:
    """The card, from the snapshot's own rows: what laudos.toml says today has no part in it.

    Raises LaudosError where there is no such snapshot.
    """
    with reading(engine) as c:
        snapshot = snapshots.existing(c, snapshot_id)
        return data_card(_facts(c, snapshot))


def read_data_card(settings: Settings, snapshot_id: int) -> str:
    """The card as Markdown. Raises LaudosError as `card_of` does."""
    return card_of(open_database(settings), snapshot_id).markdown


def _facts(c: Connection, snapshot: Snapshot) -> Card:
    institutions = rows.by_institution(c, snapshot.id)
    return Card(
        snapshot_id=snapshot.id,
        classifier=snapshot.classifier,
        sha=snapshot.sha,
        reports=snapshot.reports,
        frozen_at=snapshot.created_at,
        run_id=snapshot.run_id,
        code_revision=rows.frozen_by(c, snapshot.id),
        origins=snapshot.recipe["origins"],
        left_out=snapshot.recipe["left_out_labels"],
        counts=[
            Cell((label, origin), split, reports, patients)
            for origin, label, split, reports, patients in snapshots.counts(c, snapshot.id)
        ],
        sources=dated(rows.by_source(c, snapshot.id)),
        institutions=[
            Cell((institution or "not recorded", label), split, reports)
            for institution, label, split, reports in institutions
        ],
        seeds=_seeds(rows.synthetic_ids(c, snapshot.id)),
        written=_written(c, snapshot),
    )


def dated(found: Iterable[FromSource]) -> list[Dated]:
    """One line a source and origin: the splits' counts summed, their dates joined."""
    parts: dict[tuple[str, str], list[FromSource]] = {}
    for one in found:
        parts.setdefault((one.source, one.origin), []).append(one)
    return [
        Dated(
            name,
            origin,
            sum(one.reports for one in of),
            min((one.first_date for one in of if one.first_date), default=None),
            max((one.last_date for one in of if one.last_date), default=None),
        )
        for (name, origin), of in parts.items()
    ]


def _seeds(ids: Iterable[tuple[str, str]]) -> list[Cell]:
    counted = Counter((parsed(external_id).seed, split) for external_id, split in ids)
    return [Cell((str(seed),), split, reports) for (seed, split), reports in sorted(counted.items())]


def _written(c: Connection, snapshot: Snapshot) -> Written | None:
    """The set that the freeze recorded; None for a snapshot without synthetic reports, or an old one."""
    set_id = snapshot.recipe.get("synthetic_set")
    found = None if set_id is None else synthetic_sets.get(c, set_id)
    if found is None:
        return None
    return Written(
        exam=found.exam,
        mode=found.mode,
        seed=found.seed,
        reports_per_row=found.reports_per_row,
        rows=found.rows,
        reports=found.reports,
        reserved_share=found.reserved_share,
        kept=len(found.kept),
        sha=found.sha,
        audit=found.audit,
    )
