"""Encoders by name: fetched through the hub's own client, carried, imported, trained; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.ml.checked_yaml import BadFile
from tasks.ml.encoders.folder import FACTS, EncoderFacts, checked, found_in, read_encoder, seal, take_in
from tasks.ml.encoders.folder import facts_of as encoder_facts
from tasks.ml.encoders.hub import fetch
from tasks.ml.encoders.presets import FILE, presets, read_presets
from tasks.ml.errors import BrokenArtifact, UnfitEncoder
from tasks.ml.network.artifact import LaudosJson, publish
from tasks.ml.network.encoder import EncoderSpec, encoder_sha, load_encoder
from tasks.ml.network.features import encode
from tasks.ml.network.predictor import Predictor
from tasks.ml.sealed import MANIFEST
from tasks.ml.training.training import BodyTraining, train_body
from tests.ml.conftest import LABELS, STRIDE, WINDOW, Network, bare_network, written
from tests.stand_in_hub import StandInHub

HUB = "somebody/some-encoder"
A_FEW_STEPS = BodyTraining(WINDOW, STRIDE, epochs=1, learning_rate=2e-3, batch_windows=8)


@pytest.fixture(scope="session")
def files(tiny: Callable[[], Network], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a repository of a tiny BERT holds: the network without a head, as encoders are published."""
    return as_published(tiny(), tmp_path_factory.mktemp("published"))


def as_published(network: Network, folder: Path) -> dict[str, bytes]:
    model, tokenizer = network
    model.base_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def vectors_of(network: Network, texts: Sequence[str]) -> np.ndarray:
    return encode(*network, texts, window_tokens=WINDOW, stride_tokens=STRIDE).vectors


def fetched(hub: StandInHub, revision: str, to: Path) -> Path:
    fetch(HUB, revision, to, name="some-encoder", endpoint=hub.endpoint)
    return to


# ------------------------------------------------------------------ the whole way


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "xlm-roberta", "modernbert", "gpt2"])
def test_every_family_comes_from_the_hub_is_trained_saved_loaded_and_answers(
    family: str,
    tiny: Callable[[], Network],
    tiny_texts: list[str],
    facts_of: Callable[[Network], LaudosJson],
    hub: StandInHub,
    tmp_path: Path,
):
    network = tiny() if family == "bert" else bare_network(family, tiny_texts)
    revision = hub.publish(HUB, as_published(network, tmp_path / "published"))
    facts, _ = take_in(fetched(hub, revision, tmp_path / "carried"), tmp_path / "encoders")
    assert (facts.family, facts.window, facts.revision) == (family, WINDOW, revision)

    trained = load_encoder(EncoderSpec("folder", str(tmp_path / "encoders" / "some-encoder")), LABELS, seed=1)
    untrained = encoder_sha(*trained, WINDOW, STRIDE)
    texts, labels = written(24, 1)
    train_body(*trained, texts, labels, config=A_FEW_STEPS, checkpoint_folder=tmp_path / "steps", seed=1)
    facts_then = facts_of(trained)
    assert facts_then.encoder_sha != untrained
    taught = vectors_of(trained, texts[:4])
    made = publish(tmp_path / "models", "m1", *trained, None, facts_then)
    loaded = Predictor.load(made.path, made.manifest_sha)
    np.testing.assert_allclose(loaded.vectors(texts[:4]).vectors, taught, atol=1e-6)
    assert [sum(answer.probabilities.values()) for answer in loaded.predict(texts[:4])] == pytest.approx(
        [1] * 4
    )


def test_a_repository_from_before_tokenizer_json_is_read_by_its_vocabulary(
    tiny: Callable[[], Network], files: dict[str, bytes], hub: StandInHub, tmp_path: Path
):
    pieces = tiny()[1].get_vocab()
    old = {name: files[name] for name in ("config.json", "model.safetensors")} | {
        "vocab.txt": "\n".join(sorted(pieces, key=pieces.__getitem__)).encode(),
        "tokenizer_config.json": b'{"do_lower_case": true}',
    }
    carried = fetched(hub, hub.publish(HUB, old), tmp_path / "carried")
    _, tokenizer = load_encoder(EncoderSpec("folder", str(carried)), LABELS)
    assert tokenizer("Nódulo na mama")["input_ids"] == tiny()[1]("Nódulo na mama")["input_ids"]


def test_only_what_is_read_is_fetched_and_every_byte_of_it_is_sealed(
    files: dict[str, bytes], hub: StandInHub, tmp_path: Path
):
    more = {
        "README.md": b"#",
        "pytorch_model.bin": b"\x80\x04.",
        "modeling_evil.py": b"import os",
        "tf_model.h5": b"",
    }
    carried = fetched(hub, hub.publish(HUB, files | more), tmp_path / "carried")
    assert {path.name for path in carried.iterdir()} == {*files, FACTS, MANIFEST}
    assert {name: (carried / name).read_bytes() for name in files} == files
    assert checked(carried)
    assert json.loads((carried / MANIFEST).read_text())["files"].keys() == {*files, FACTS}


# ------------------------------------------------------------------ a hub that is not well


def test_a_line_that_breaks_is_taken_up_where_it_broke(
    files: dict[str, bytes], hub: StandInHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    revision = hub.publish(HUB, files)
    monkeypatch.setattr(
        "huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000
    )  # what is kept of a broken line
    hub.cut["model.safetensors"] = [4000, 3000]
    carried = fetched(hub, revision, tmp_path / "carried")
    assert hub.asked_for("model.safetensors") == [None, "bytes=4000-", "bytes=7000-"]
    assert (carried / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_a_download_that_never_ends_is_no_encoder_and_what_is_whole_of_it_is_not_asked_for_again(
    files: dict[str, bytes], hub: StandInHub, tmp_path: Path
):
    revision = hub.publish(HUB, files)
    hub.cut["model.safetensors"] = [4000, *[0] * 20]
    with pytest.raises(UnfitEncoder, match=r"model\.safetensors did not arrive .* fetch again"):
        fetched(hub, revision, tmp_path / "carried")
    assert not (tmp_path / "carried").exists()
    (half,) = tmp_path.iterdir()
    with pytest.raises(BrokenArtifact, match="half-written"):
        take_in(half, tmp_path / "encoders")
    (half / "planted.txt").write_text("somebody else's")
    hub.cut.clear()
    hub.requests.clear()
    assert checked(fetched(hub, revision, tmp_path / "carried"))
    assert not (tmp_path / "carried" / "planted.txt").exists()
    assert {file for method, file, _ in hub.requests if method == "GET"} == {"model.safetensors"}
    assert [path.name for path in tmp_path.iterdir()] == ["carried"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_altered_on_the_way_is_thrown_away(
    name: str, files: dict[str, bytes], hub: StandInHub, tmp_path: Path
):
    revision = hub.publish(HUB, files)
    hub.altered[name] = files[name][:-1] + b" "  # as long as it should be
    with pytest.raises(UnfitEncoder, match=rf"{name} came with another content"):
        fetched(hub, revision, tmp_path / "carried")
    assert not (tmp_path / "carried").exists()
    hub.altered.clear()
    assert checked(fetched(hub, revision, tmp_path / "carried"))


def test_a_repository_of_pickles_is_refused_with_a_way_out(
    files: dict[str, bytes], hub: StandInHub, tmp_path: Path
):
    only = {name: content for name, content in files.items() if name != "model.safetensors"}
    revision = hub.publish(HUB, only | {"pytorch_model.bin": b"\x80\x04."})
    with pytest.raises(UnfitEncoder, match=r"only pytorch_model\.bin.*pull requests.*save_pretrained"):
        fetched(hub, revision, tmp_path / "carried")
    assert not hub.requests  # nothing of it was asked for


@pytest.mark.parametrize(
    ("name", "revision", "told"),
    [
        (HUB, "1" * 40, r"has no commit 1{40}; .*/commits/main"),
        ("nobody/nothing", "1" * 40, "the hub knows no nobody/nothing"),
        (HUB, "main", "all its 40 hex digits"),
        (HUB, "ABC", "all its 40 hex digits"),
    ],
)
def test_a_wrong_revision_and_an_unknown_repository_are_refused(
    name: str, revision: str, told: str, files: dict[str, bytes], hub: StandInHub, tmp_path: Path
):
    hub.publish(HUB, files)
    with pytest.raises(UnfitEncoder, match=told):
        fetch(name, revision, tmp_path / "carried", name="x", endpoint=hub.endpoint)
    assert not list(tmp_path.iterdir())


def test_a_hub_that_answers_with_another_commit_is_not_believed(
    files: dict[str, bytes], hub: StandInHub, tmp_path: Path
):
    revision = hub.publish(HUB, files)
    hub.commit_told = "2" * 40
    with pytest.raises(UnfitEncoder, match=f"answered with commit 2{{40}}, not with {revision}"):
        fetched(hub, revision, tmp_path / "carried")


def test_without_a_network_it_says_so(hub: StandInHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UnfitEncoder, match="HF_HUB_OFFLINE is set"):
        fetched(hub, "1" * 40, tmp_path / "carried")


def test_what_needs_code_of_its_own_is_refused_and_none_of_it_runs(
    files: dict[str, bytes], hub: StandInHub, tmp_path: Path
):
    proof = tmp_path / "ran"
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}}
    bad = {"config.json": json.dumps(config).encode(), "evil.py": f"open({str(proof)!r}, 'w')".encode()}
    with pytest.raises(UnfitEncoder, match="no remote code"):
        fetched(hub, hub.publish(HUB, files | bad), tmp_path / "carried")
    assert not proof.exists()
    assert not (tmp_path / "carried").exists()


def test_weights_that_lack_a_layer_are_not_fetched_and_not_imported(
    files: dict[str, bytes], hub: StandInHub, tmp_path: Path
):
    config = json.dumps(json.loads(files["config.json"]) | {"num_hidden_layers": 3}).encode()
    with pytest.raises(UnfitEncoder, match=r"16 of the 53 weights .*layer\.2\..* drawn at random"):
        fetched(hub, hub.publish(HUB, files | {"config.json": config}), tmp_path / "carried")
    assert not (tmp_path / "carried").exists()
    folder = tmp_path / "sealed-elsewhere"
    folder.mkdir()
    for name, content in (files | {"config.json": config}).items():
        (folder / name).write_bytes(content)
    seal(folder, EncoderFacts("some-encoder", HUB, "1" * 40, "bert", WINDOW, 1))
    with pytest.raises(UnfitEncoder, match="16 of the 53 weights"):
        take_in(folder, tmp_path / "encoders")
    assert not list((tmp_path / "encoders").iterdir())


# ------------------------------------------------------------------ carried and imported


@pytest.fixture(scope="module")
def sealed(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    seal(folder, encoder_facts(folder, "some-encoder", HUB, "1" * 40, None))
    return folder


@pytest.fixture
def carried(sealed: Path, tmp_path: Path) -> Path:
    """What a fetch leaves, to be carried, altered and imported."""
    return shutil.copytree(sealed, tmp_path / "carried")


def test_one_byte_lost_on_the_stick_is_named_and_nothing_is_taken_in(carried: Path, tmp_path: Path):
    content = bytearray((carried / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (carried / "model.safetensors").write_bytes(content)
    (carried / "config.json").unlink()
    with pytest.raises(BrokenArtifact, match=r"config\.json is missing; model\.safe.* was altered.*Carry"):
        take_in(carried, tmp_path / "encoders")
    assert not (tmp_path / "encoders").exists()


def test_the_same_encoder_twice_is_no_error_and_another_never_takes_its_name(carried: Path, tmp_path: Path):
    root = tmp_path / "encoders"
    assert [take_in(carried, root)[1] for _ in range(2)] == [True, False]
    other = shutil.copytree(carried, tmp_path / "other")
    seal(other, replace(read_encoder(other), revision="2" * 40))
    with pytest.raises(BrokenArtifact, match="holds another encoder, or another revision"):
        take_in(other, root)
    take_in(other, root, "newer")
    assert sorted(path.name for path in root.iterdir()) == ["newer", "some-encoder"]


def test_an_import_that_is_cut_off_leaves_nothing(
    carried: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def cut(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("tasks.ml.encoders.folder.bring_to_disk", cut)
    with pytest.raises(OSError, match="Input/output"):
        take_in(carried, tmp_path / "encoders")
    assert not list((tmp_path / "encoders").iterdir())


def test_the_list_tells_a_whole_encoder_from_one_that_lost_a_file(carried: Path, tmp_path: Path):
    root = tmp_path / "encoders"
    take_in(carried, root)
    ((name, facts),) = found_in(root)
    assert name == "some-encoder"
    assert facts is not None
    assert facts.parameters > 10_000
    (root / name / "config.json").unlink()
    assert dict(found_in(root)) == {"some-encoder": None}


@pytest.mark.parametrize("name", ["scratch-mine", "../up", "Upper", ""])
def test_a_name_that_could_hide_something_is_refused(name: str, carried: Path, tmp_path: Path):
    with pytest.raises(UnfitEncoder, match="cannot be an encoder's name"):
        take_in(carried, tmp_path / "encoders", name)


# ------------------------------------------------------------------ presets


def test_every_preset_is_pinned_or_says_where_to_look():
    for name, preset in presets().pretrained.items():
        assert preset.revision or "pull request" in (preset.whose or ""), name
    assert {"bertimbau-base", "biobertpt-clin", "xlm-roberta", "modernbert"} <= presets().pretrained.keys()
    revisions = [preset.revision for preset in presets().pretrained.values() if preset.revision]
    assert len(set(revisions)) == len(revisions)


@pytest.mark.parametrize(
    ("was", "instead", "told"),
    [
        ("revision: 4a78", "revision: 4a7", r"line 18, pretrained\.bertimbau-base\.revision"),
        ("    window: 512\n", "", "window: this is missing"),
        ("licence: MIT", "license: MIT", "license: unknown key"),
        ("attention_heads: 2\n", "attention_heads: 3\n", "hidden_size must be a multiple"),
        ("  bertimbau-base:", "  scratch-pt:", "names of scratch sizes begin with scratch"),
        ("    weights: safetensors\n", "", "revision and weights go together"),
    ],
)
def test_a_preset_written_wrong_is_told_with_its_line(was: str, instead: str, told: str, tmp_path: Path):
    text = FILE.read_text(encoding="utf-8")
    assert was in text
    (tmp_path / "presets.yaml").write_text(text.replace(was, instead, 1), encoding="utf-8")
    with pytest.raises(BadFile, match=told):
        read_presets(tmp_path / "presets.yaml")


def test_the_vectors_of_an_imported_encoder_are_those_of_the_published_one(
    carried: Path, tiny: Callable[[], Network], tiny_texts: list[str], tmp_path: Path
):
    take_in(carried, tmp_path / "encoders")
    spec = EncoderSpec("folder", str(tmp_path / "encoders" / "some-encoder"))
    published, imported = (
        vectors_of(network, tiny_texts[:3]) for network in (tiny(), load_encoder(spec, LABELS))
    )
    np.testing.assert_allclose(imported, published, atol=1e-6)
