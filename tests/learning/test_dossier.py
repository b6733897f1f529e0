"""A dossier holds what an auditor asks for, is what its manifest says, and tells of no patient."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest

from db.errors import LaudosError
from tasks.inspection.dossier import MANIFEST, write_dossier
from tasks.pages.model_report import write_model_report
from tests.learning.retraining import decisions, model_of, retrain
from tests.learning.world import World, patient_key, text_of


def test_a_dossier_is_whole_or_not_there_and_tells_of_no_patient(
    both: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.add(range(100))
    model_id = retrain(both).trained.model_id
    write_model_report.fn(1, model_id)
    folder = tmp_path / "dossier"

    def end(_path: Path, _mode: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(Path, "chmod", end)
        with pytest.raises(KeyboardInterrupt):
            write_dossier(both.settings, model_id, folder)
    assert list(tmp_path.glob("*dossier*")) == []
    told = write_dossier(both.settings, model_id, folder)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    assert hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest() == told.manifest_sha
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == manifest["files"]
    assert set(found) >= {
        "report.html",
        "model-card.pt.md",
        "model-card.en.md",
        "data-card.md",
        "laudos.json",
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    read = {name: json.loads(content) for name, content in found.items() if name.endswith(".json")}
    assert hashlib.sha256(found["manifest.json"]).hexdigest() == model_of(both, model_id).manifest_sha
    assert read["plan.json"]["in_force"]["sha"] == decisions(both)[-1].plan_sha
    assert len(read["snapshot.json"]["items"]) == 100
    assert {entry["action"] for entry in read["audit.json"]["entries"]} == {"trained", "promoted"}
    assert read["candidacies.json"] == []  # its plan had nobody wait
    assert read["audit.json"]["chain_broken_at"] == []
    assert read["audit.json"]["last_sha"] == read["audit.json"]["entries"][-1]["sha"]
    whole = b"".join(found.values()).decode()
    for number in range(100):
        assert patient_key(number) not in whole
        assert text_of(number, ["benigno", "maligno"][number % 2]) not in whole
        assert f'"L{number}"' not in whole
    with pytest.raises(LaudosError, match="exists already"):
        write_dossier(both.settings, model_id, folder)
