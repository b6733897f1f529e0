"""A model folder is whole or not there, and says which file was touched."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tasks.ml.errors import BrokenArtifact, DiskFull
from tasks.ml.network.artifact import FACTS, MANIFEST, LaudosJson, Published, publish, read_facts, verify
from tasks.ml.network.predictor import Predictor
from tests.ml.conftest import Network
from tests.ml.killed import told_by

# A publish killed at every single file-system event it causes, one victim an event, until one survives
KILLED_EVERYWHERE = """
import json, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from tasks.ml.network.artifact import LaudosJson, publish, verify
from tasks.ml.network.conformal import Thresholds
from tasks.ml.network.encoder import EncoderSpec, make_scratch
from tests.ml.conftest import LABELS, written
from tests.ml.killed import in_child

root = Path(sys.argv[1])
spec = EncoderSpec(window_tokens=48, hidden_size=32, vocabulary=220)
model, tokenizer = make_scratch(written(60, seed=1)[0], LABELS, spec, seed=3)
facts = LaudosJson("mama", LABELS, "maligno", 48, 8, "e", "s", 1, datetime(2026, 11, 23, tzinfo=UTC),
                   Thresholds((0.5, 0.5), (9, 9), (0.1, 0.1)))
EVENTS = {"open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir"}

def victim(kill_at):
    seen = 0
    def hook(event, args):
        nonlocal seen
        if event in EVENTS and str(args[0]).startswith(str(root)):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    publish(root, "m", model, tokenizer, None, facts)

killed_before, killed_after = 0, 0
for kill_at in range(1, 200):
    code = in_child(lambda: victim(kill_at))
    if (root / "m").exists():
        verify(root / "m")
        killed_after += code == -9
        os.rename(root / "m", root / f"whole-{kill_at}")
    else:
        assert code == -9, code
        killed_before += 1
    if code == 0:
        break
print(json.dumps([killed_before, killed_after, code]))
"""


@pytest.fixture
def published(
    tiny: Callable[[], Network], facts_of: Callable[[Network], LaudosJson], tmp_path: Path
) -> Published:
    network = tiny()
    return publish(tmp_path / "models", "m1", *network, None, facts_of(network))


def test_a_published_folder_verifies_and_leaves_nothing_beside_it(published: Published):
    assert verify(published.path) == published.manifest_sha
    assert verify(published.path, published.manifest_sha) == published.manifest_sha
    assert [path.name for path in published.path.parent.iterdir()] == ["m1"]


def test_only_safetensors_and_json_are_published(published: Published):
    assert {path.suffix for path in published.path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_all_of_a_folder_is_open_to_whom_the_umask_lets_in(
    umask: int, file: int, folder: int, tiny, facts_of, tmp_path: Path
):
    """safetensors writes its files for their owner alone."""
    network, before = tiny(), os.umask(umask)
    try:
        published = publish(tmp_path / "models", "m1", *network, None, facts_of(network))
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in published.path.iterdir()} == {file}
    assert stat.S_IMODE(published.path.stat().st_mode) == folder


def test_laudos_json_comes_back_as_it_went_in(published: Published, tiny, facts_of):
    facts = facts_of(tiny())
    assert read_facts(published.path) == facts
    older = facts.as_json()
    del older["machine"]  # written before machines were told
    assert LaudosJson.from_json(older).machine == {}
    assert "no clinical validation" in json.loads((published.path / FACTS).read_text())["caveat"]
    assert "Infinity" not in (published.path / FACTS).read_text()


def test_a_publish_killed_anywhere_leaves_the_whole_folder_or_none(tmp_path: Path):
    before, after, last = told_by(KILLED_EVERYWHERE, tmp_path)
    assert before > 10
    assert after >= 1
    assert last == 0


def test_an_existing_folder_is_never_replaced_and_the_next_free_name_taken(
    published: Published, tiny, facts_of
):
    network = tiny()
    for name in ("m1-2", "m1-3"):
        beside = publish(published.path.parent, "m1", *network, None, facts_of(network))
        assert beside.path.name == name
        assert verify(beside.path, beside.manifest_sha)
    assert verify(published.path) == published.manifest_sha


def test_of_two_who_publish_one_name_at_once_the_second_stands_beside_the_first(
    published: Published, tiny, facts_of, monkeypatch
):
    network = tiny()
    monkeypatch.setattr(Path, "exists", lambda _self: False)  # both looked before either had written
    second = publish(published.path.parent, "m1", *network, None, facts_of(network))
    monkeypatch.undo()
    assert verify(published.path) == published.manifest_sha
    assert verify(second.path) == second.manifest_sha
    assert sorted(path.name for path in published.path.parent.iterdir()) == ["m1", "m1-2"]


def test_leftovers_of_a_killed_publish_go_and_those_of_a_running_one_stay(tiny, facts_of, tmp_path: Path):
    for name, age in ((".partial-old", 7200), (".partial-new", 60)):
        (tmp_path / name).mkdir()
        then = tmp_path.stat().st_mtime - age
        os.utime(tmp_path / name, (then, then))
    network = tiny()
    publish(tmp_path, "m1", *network, None, facts_of(network))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".partial-new", "m1"]


@pytest.mark.parametrize("name", ["", "../m", ".hidden", "a/b", "ç", "x" * 101])
def test_a_name_that_is_no_plain_name_is_refused(name: str, tiny, facts_of, tmp_path: Path):
    network = tiny()
    with pytest.raises(BrokenArtifact, match="a model's name"):
        publish(tmp_path, name, *network, None, facts_of(network))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", FACTS])
def test_a_file_altered_by_one_byte_is_named(published: Published, name: str):
    content = bytearray((published.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (published.path / name).write_bytes(content)
    with pytest.raises(BrokenArtifact, match=rf"{name} was altered.*laudos models rollback"):
        verify(published.path)


def test_each_missing_added_and_altered_file_is_named(published: Published):
    (published.path / "config.json").unlink()
    (published.path / "more").mkdir()
    (published.path / "more" / "tool.py").write_text("print()")
    (published.path / "tokenizer.json").write_text("{}")
    with pytest.raises(BrokenArtifact) as refused:
        verify(published.path)
    for problem in ("config.json is missing", "more/tool.py was added", "tokenizer.json was altered"):
        assert problem in str(refused.value)


def test_a_link_in_place_of_a_file_counts_as_altered(published: Published, tmp_path: Path):
    (published.path / "config.json").rename(tmp_path / "config.json")
    (published.path / "config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(BrokenArtifact, match=r"config\.json was altered"):
        verify(published.path)


def test_a_folder_rewritten_with_its_manifest_is_not_the_recorded_one(published: Published):
    manifest = published.path / MANIFEST
    manifest.write_text(manifest.read_text() + "\n")
    verify(published.path)
    with pytest.raises(BrokenArtifact, match=r"MANIFEST\.json was altered: .* recorded was"):
        verify(published.path, published.manifest_sha)


def test_a_half_written_folder_is_refused(published: Published):
    (published.path / MANIFEST).unlink()
    with pytest.raises(BrokenArtifact, match="half-written"):
        verify(published.path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"format": 1, "fil', "not readable JSON"),
        ("[]", "not a JSON object"),
        ('{"format": 2, "files": {}}', "unknown format"),
        ('{"format": 1, "files": {"laudos.json": 3}}', "unknown format"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(published: Published, content: str, told: str):
    (published.path / MANIFEST).write_text(content)
    with pytest.raises(BrokenArtifact, match=told):
        verify(published.path)


def test_a_pickle_in_the_folder_is_refused_with_its_name(published: Published):
    (published.path / "training_args.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(BrokenArtifact, match=r"training_args\.bin: formats that can run code"):
        verify(published.path)


def test_a_folder_that_is_gone_is_refused(tmp_path: Path):
    with pytest.raises(BrokenArtifact, match="is not there"):
        verify(tmp_path / "m")


def test_laudos_json_of_another_format_or_without_an_entry_is_refused(tiny, facts_of):
    content = facts_of(tiny()).as_json()
    assert LaudosJson.from_json({**content, "format": 1}) == LaudosJson.from_json(content)
    with pytest.raises(BrokenArtifact, match="has format 7 and this laudos reads 1 to 2"):
        LaudosJson.from_json({**content, "format": 7})
    del content["critical"]
    with pytest.raises(BrokenArtifact, match="critical"):
        LaudosJson.from_json(content)


def test_a_model_whose_encoder_is_not_the_recorded_one_is_not_loaded(tiny, facts_of, tmp_path: Path):
    network = tiny()
    made = publish(tmp_path, "m1", *network, None, replace(facts_of(network), encoder_sha="0" * 64))
    with pytest.raises(BrokenArtifact, match="reads reports differently"):
        Predictor.load(made.path)


def test_a_full_disk_publishes_nothing_and_says_so(tiny, facts_of, tmp_path: Path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.ml.network.artifact.os.fsync", full)
    network = tiny()
    with pytest.raises(DiskFull, match="is full; free some space"):
        publish(tmp_path, "m1", *network, None, facts_of(network))
    assert not list(tmp_path.iterdir())


def test_publishing_moves_no_weight(tiny, facts_of, tmp_path: Path):
    network = tiny()
    before = {name: tensor.clone() for name, tensor in network[0].state_dict().items()}
    publish(tmp_path, "m1", *network, None, facts_of(network))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network[0].state_dict().items())
