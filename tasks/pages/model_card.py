"""A model's card: as files in <folder>/reports, in the Prefect UI, and on the terminal."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from db import candidates, ledger, lessons, metrics, models, snapshots, synthetic_sets
from db import data_card as rows
from db.engine import reading
from db.models import Model
from db.snapshots import Snapshot
from tasks.artifacts import publish_model_card
from tasks.database import open_database
from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.artifact import read_facts
from tasks.ml.network.conformal import Thresholds
from tasks.ml.pages.card_words import LANGUAGES, Language
from tasks.ml.pages.model_card import Card, CardFacts, State, Verdict, model_card
from tasks.ml.pages.model_report import Count
from tasks.model_folders import folder_of, model_card_path, write_atomically
from tasks.models.figures import figures_of
from tasks.models.models import model_row
from tasks.pages.model_report import encoder_in_words
from tasks.settings.settings import Settings
from tasks.step import step
from tasks.training import behaviour
from tasks.training.data_card import dated


@step("describe model", run_name="describe model {model_id}", retries=2)
def write_model_card(model_id: int) -> None:
    """Write the card in every language; what was decided since makes it another."""
    settings = Settings.load()
    write_card(open_database(settings), settings, model_id)


def write_card(engine: Engine, settings: Settings, model_id: int) -> None:
    """As files, and in Prefect's UI where a run of it is under way."""
    facts = facts_of(engine, settings, model_id)
    for language in LANGUAGES:
        card = model_card(facts, language)
        write_atomically(model_card_path(settings, model_id, language, "md"), card.markdown.encode())
        write_atomically(model_card_path(settings, model_id, language, "html"), card.html.encode())
        publish_model_card(model_id, facts.classifier, language, card.markdown)


def card_of(settings: Settings, model_id: int, language: Language) -> Card:
    """The card as things stand. Raises LaudosError where there is no such model."""
    return model_card(facts_of(open_database(settings), settings, model_id), language)


def facts_of(engine: Engine, settings: Settings, model_id: int) -> CardFacts:
    """From the model's own rows and its folder: what laudos.toml says today has no part in it."""
    model = model_row(engine, model_id)
    with reading(engine) as c:
        snapshot = snapshots.existing(c, model.snapshot_id)
        figures = metrics.of_model(c, model_id)
        tried = metrics.of_model(c, model_id, behaviour.POPULATION)
        state, verdict = _state(c, model)
        gone = lessons.taught_by(c)[0].get(model.id, lessons.Taught(0, False))
        return CardFacts(
            classifier=model.classifier,
            model_id=model.id,
            state=state,
            labels=model.config["labels"],
            critical=model.config["critical"],
            trained=model.trained,
            encoder=encoder_in_words(model.config),
            created_at=model.created_at,
            code_revision=ledger.code_revision_of(c, model.run_id),
            run_id=model.run_id,
            folder=f"models/{model.path}",
            manifest_sha=model.manifest_sha,
            config_sha=model.config_sha,
            snapshot_id=snapshot.id,
            snapshot_sha=snapshot.sha,
            exam=_exam(c, snapshot),
            counts=[Count(*count) for count in snapshots.counts(c, snapshot.id)],
            sources=dated(rows.by_source(c, snapshot.id)),
            figures={subject: figures_of(subject, figures) for subject in {row.subject for row in figures}},
            behaviour=next((one for one in figures_of("model", tried) if one.slice == "all"), None),
            thresholds=_thresholds(settings, model),
            verdict=verdict,
            erased=gone.reports,
            erased_perhaps=gone.perhaps,
        )


def _state(c: Connection, model: Model) -> tuple[State, Verdict | None]:
    """Whether it answers, and the last decision about it."""
    champion = models.champion_of(c, model.classifier)
    history = [past for past in models.promotions(c, model.classifier) if past.model_id == model.id]
    verdict = None
    if history:
        last = history[0]
        verdict = Verdict(last.decision, last.at, last.actor, last.plan_sha)
    if champion is not None and champion.model.id == model.id:
        return "answering", verdict
    if any(one.model_id == model.id for one in candidates.pending(c, model.classifier)):
        return "waiting", verdict
    if any(past.decision != "refused" for past in history):
        return "promoted", verdict
    return ("refused" if history else "unjudged"), verdict


def _exam(c: Connection, snapshot: Snapshot) -> str | None:
    """The exam of the synthetic reports in it; "other" where the set was not recorded; None without any."""
    if not any(origin == "synthetic" for origin, *_ in snapshots.counts(c, snapshot.id)):
        return None
    set_id = snapshot.recipe.get("synthetic_set")
    found = None if set_id is None else synthetic_sets.get(c, set_id)
    return "other" if found is None else found.exam


def _thresholds(settings: Settings, model: Model) -> Thresholds | None:
    try:
        return read_facts(folder_of(settings, model)).thresholds
    except BrokenArtifact:
        return None
