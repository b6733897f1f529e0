"""Everything an auditor asks for about one model, in one folder: counts, figures and shas.

    MANIFEST.json          the sha256 of every other file here
    model.json             its row, configuration and code revision; what is wrong with its folder; which
                           of the reports that taught it were erased on request since: counts, null for none
    manifest.json          the sha256 of each file of the published folder, and laudos.json, what it promises
    model-card.pt.md, model-card.en.md, report.md, report.html
    data-card.md           what its training set is made of
    snapshot.json          which report versions, of which split, under which label; ids only
    metrics.json           every figure ever measured of it, and on its behaviour suite
    plan.json              the rules of promotion in force now, with their sha; the shas of earlier decisions
    promotions.json        every decision about it, with its reasons
    candidacies.json       when it met the rules and had to wait, what it scored along, who decided and why
    audit.json             the audit's entries about it and changes of the plan; whether the chain is sound

No report's text, no patient's key. Pages that were never written, or whose folder is gone, are left out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, is_dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from db import audit, candidates, dossier, ledger, lessons, models, shadow, snapshots
from db.engine import reading
from db.errors import LaudosError
from db.models import Model
from tasks.database import open_database
from tasks.ledger import code_revision
from tasks.ml.disk import whole_folder
from tasks.ml.judging.rules import RULES_REVISION, rules_sha
from tasks.ml.network.artifact import FACTS
from tasks.ml.network.artifact import MANIFEST as PUBLISHED
from tasks.ml.pages.card_words import LANGUAGES
from tasks.ml.pages.model_card import model_card
from tasks.model_folders import fault_of, folder_of, report_path
from tasks.models.models import model_row
from tasks.pages.model_card import facts_of
from tasks.promotion.candidacy import rules_of
from tasks.settings.settings import Settings
from tasks.training import behaviour
from tasks.training.data_card import card_of as data_card_of

MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class Dossier:
    """Where it lies, how many files it holds, and the sha256 of its manifest: keep that elsewhere."""

    model_id: int
    folder: str
    files: int
    manifest_sha: str


def write_dossier(settings: Settings, model_id: int, folder: Path) -> Dossier:
    """Write the dossier into a new folder that only its owner can enter, whole or not at all.

    Raises LaudosError where the model is unknown or the folder exists.
    """
    engine = open_database(settings)
    model = model_row(engine, model_id)
    if folder.exists():
        raise LaudosError(f"{folder} exists already; name a new folder")
    files = _contents(engine, settings, model)
    shas = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    manifest = _json({"model_id": model_id, "files": shas})
    with whole_folder(folder) as partial:
        for name, content in {**files, MANIFEST: manifest}.items():
            _write(partial / name, content)
    return Dossier(model_id, str(folder), len(files), hashlib.sha256(manifest).hexdigest())


def _contents(engine: Engine, settings: Settings, model: Model) -> dict[str, bytes]:
    facts = facts_of(engine, settings, model.id)
    files = {f"model-card.{name}.md": model_card(facts, name).markdown.encode() for name in LANGUAGES}
    files["data-card.md"] = data_card_of(engine, model.snapshot_id).markdown.encode()
    for ending in ("md", "html"):
        page = report_path(settings, model.id, ending)
        if page.exists():
            files[f"report.{ending}"] = page.read_bytes()
    published = folder_of(settings, model)
    for name, path in (("manifest.json", published / PUBLISHED), ("laudos.json", published / FACTS)):
        if path.is_file():
            files[name] = path.read_bytes()
    with reading(engine) as c:
        described = {
            "model.json": _model(c, settings, model),
            "snapshot.json": _snapshot(c, model),
            "metrics.json": dossier.metrics_of(c, model.id),
            "plan.json": _plan(c, settings, model),
            "promotions.json": [
                past
                for past in models.promotions(c, model.classifier)
                if model.id in (past.model_id, past.previous_model_id)
            ],
            "candidacies.json": [
                {**asdict(one), "scored_along": asdict(shadow.beside(c, one))}
                for one in candidates.of_model(c, model.id)
            ],
            "audit.json": {
                "chain_broken_at": audit.broken(c),
                "last_sha": dossier.last_sha(c),
                "entries": dossier.audit_of(c, (f"model {model.id}", f"classifier {model.classifier}"[:128])),
            },
        }
    return files | {name: _json(content) for name, content in described.items()}


def _model(c: Connection, settings: Settings, model: Model) -> dict[str, Any]:
    champion = models.champion_of(c, model.classifier)
    return {
        **asdict(model),
        "answers_now": champion is not None and champion.model.id == model.id,
        "code_revision": ledger.code_revision_of(c, model.run_id),
        "erased_since": lessons.taught_by(c)[0].get(model.id),
        "fault": fault_of(settings, model),
        "told_by_code": code_revision(),
    }


def _snapshot(c: Connection, model: Model) -> dict[str, Any]:
    snapshot = snapshots.existing(c, model.snapshot_id)
    return {**asdict(snapshot), "items": dossier.items_of(c, model.snapshot_id)}


def _plan(c: Connection, settings: Settings, model: Model) -> dict[str, Any]:
    decided = [
        {"promotion": past.id, "plan_sha": past.plan_sha}
        for past in models.promotions(c, model.classifier)
        if past.model_id == model.id
    ]
    asked = settings.classifiers.get(model.classifier)
    if asked is None:
        return {"in_force": None, "decided_under": decided}
    suite, rules = behaviour.suite_of(asked), rules_of(asked)
    return {
        "in_force": {
            "sha": rules_sha(rules, asked.critical, asked.sensitivity_floor, suite.sha if suite else None),
            "revision": RULES_REVISION,
            "critical": asked.critical,
            "sensitivity_floor": asked.sensitivity_floor,
            "behaviour_suite": suite.sha if suite else None,
            **asdict(rules),
        },
        "decided_under": decided,
    }


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def _json(content: Any) -> bytes:
    return (json.dumps(content, default=_plain, indent=1, ensure_ascii=False) + "\n").encode()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a dossier")
