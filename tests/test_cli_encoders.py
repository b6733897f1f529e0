"""`laudos encoders`: the whole way of an encoder from a hub to a training, as a person goes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ml.conftest import bare_network, save, written
from tests.stand_in_hub import StandInHub
from tests.test_cli import Laudos, laudos

__all__ = ["laudos"]


@pytest.fixture
def revision(hub: StandInHub, tmp_path: Path) -> str:
    return hub.publish(
        "pucpr/biobertpt-clin", save(bare_network("distilbert", written(60, 1)[0]), tmp_path / "m")
    )


def test_a_preset_is_fetched_imported_and_listed(
    revision: str, hub: StandInHub, laudos: Laudos, tmp_path: Path
) -> None:
    carried = tmp_path / "stick"
    words = ("encoders", "fetch", "biobertpt-clin", "--to", str(carried), "--endpoint", hub.endpoint)
    unpinned = laudos(*words)
    assert unpinned.code == 2
    assert "no commit of pucpr/biobertpt-clin is pinned" in unpinned.err
    assert "with --revision: https://huggingface.co/pucpr/biobertpt-clin/commits/main" in unpinned.err
    told = laudos(*words, "--revision", revision, "--json").json
    assert (told["family"], told["hub"], told["revision"]) == ("distilbert", "pucpr/biobertpt-clin", revision)
    assert "laudos encoders import stick" in told["next"]

    assert laudos("encoders", "import", str(carried), "--json").json["new"]
    assert not laudos("encoders", "import", str(carried), "--json").json["new"]
    assert laudos("encoders", "import", str(carried), "--name", "ours").code == 0
    lines = {one["name"]: one for one in laudos("encoders", "--json").json}
    assert {name for name, one in lines.items() if one["on_disk"] == "yes"} == {"biobertpt-clin", "ours"}
    assert lines["biobertpt-clin"]["revision"] == revision
    assert (lines["bertimbau-base"]["on_disk"], lines["scratch-tiny"]["used_by"]) == ("no", [])
    listed = laudos("encoders").out
    assert "as biobertpt-all, where your texts are nearer to nurses' and physicians' notes" in listed


def test_what_is_no_encoder_is_told_from_one(hub: StandInHub, laudos: Laudos, tmp_path: Path) -> None:
    for words, code, told in (
        (("fetch", "bertimbo"), 2, "did you mean 'bertimbau-base'?"),
        (("fetch", "scratch-tiny"), 2, "there is nothing to fetch"),
        (
            ("fetch", "nobody/nothing", "--revision", "1" * 40, "--endpoint", hub.endpoint),
            1,
            "knows no n",
        ),
        (("import", str(tmp_path / "nowhere")), 1, "nowhere is not there"),
        (("import", str(tmp_path)), 1, r"has no MANIFEST.json: half-written, or no encoder of laudos"),
    ):
        ran = laudos("encoders", *words)
        assert (ran.code, ran.out) == (code, "")
        assert told in ran.err
