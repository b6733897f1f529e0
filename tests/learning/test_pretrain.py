"""Pre-training reads training patients only, leaves no report behind, and says whether it helped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import func, select, update

from db import snapshots
from db.engine import reading, writing
from db.errors import ConfigurationError, LaudosError, NothingToWorkOn
from db.tables import audit, label, metric, report, report_version
from tasks.ml.errors import BrokenArtifact, TrainingDiverged, UnfitData
from tasks.ml.network.encoder import EncoderSpec, load_encoder, make_scratch, untrained_like
from tasks.ml.network.published import pretraining_facts
from tasks.ml.splits import split_of
from tasks.model_folders import pretrained_folder, pretraining_of, pretraining_page_path
from tasks.pretraining import learning as pretrain_learning
from tasks.pretraining import pretrain
from tasks.pretraining.corpus import draw_corpus, exam_texts, owned_texts, remember, remembered
from tasks.pretraining.gain import Helped, compare
from tasks.pretraining.learning import Asked
from tasks.pretraining.pretrain import PretrainedEncoder, make_encoder, starting
from tasks.pretraining.record import unrecorded
from tasks.training.training_set import freeze
from tasks.upkeep.leftovers import leftovers
from tasks.upkeep.retention import apply
from tests.learning.retraining import retrain
from tests.learning.world import CLASSIFIER, LABELS, TRAINING, World, patient_key, text_of

LABELLED, UNLABELLED = range(60), range(60, 130)
SCRATCH = Asked(start="scratch", epochs=1.0)


@pytest.fixture
def hospital(world: World) -> World:
    """Some reports have labels, most have none."""
    world.add(LABELLED)
    add_unlabelled(world)
    return world


def add_unlabelled(world: World) -> None:
    world.add(UNLABELLED)
    keys = [patient_key(number) for number in UNLABELLED]
    theirs = select(report_version.c.id).join(report).where(report.c.patient_key.in_(keys)).scalar_subquery()
    with writing(world.engine) as c:
        c.execute(label.delete().where(label.c.report_version_id.in_(theirs)))


def frozen(world: World) -> int:
    settings = world.settings
    return freeze(world.engine, world.run("pretrain"), CLASSIFIER, settings.classifier(CLASSIFIER), world.now)


def pretrained(world: World, asked: Asked = SCRATCH) -> PretrainedEncoder:
    run_id = world.run("pretrain")
    return make_encoder(world.engine, world.settings, run_id, CLASSIFIER, frozen(world), asked, world.now)


def compared(world: World, made: PretrainedEncoder) -> tuple[int, Helped]:
    run_id = world.run("pretrain")
    return run_id, compare(
        world.engine, world.settings, run_id, CLASSIFIER, frozen(world), made.name, world.now
    )


def of(split: str, numbers: Any) -> set[str]:
    return {text_of(n, LABELS[n % 2]) for n in numbers if split_of(patient_key(n)) == split}


def test_only_training_patients_teach_only_calibration_patients_examine_and_nobody_reads_the_rest(
    both: World,
) -> None:
    both.add(LABELLED)
    add_unlabelled(both)
    both.add(range(200, 230), name="outro")
    both.forget([UNLABELLED[0]])
    with writing(both.engine) as c:
        c.execute(update(report).where(report.c.external_id == "L61").values(deleted_at=both.now))
    snapshot_id, there = frozen(both), [*LABELLED, *UNLABELLED[2:]]
    corpus = draw_corpus(both.engine, snapshot_id, ["his"], None)
    taught = [text for page in owned_texts(both.engine, corpus) for _, text in page]
    assert len(taught) == len(corpus.taught) == corpus.labelled + corpus.unlabelled
    assert set(taught) == of("train", there)
    assert set(exam_texts(both.engine, corpus)) == of("calibration", there)
    assert corpus.labelled == len(of("train", LABELLED))
    assert {patient for page in owned_texts(both.engine, corpus) for patient, _ in page} == {
        patient_key(number) for number in there if split_of(patient_key(number)) == "train"
    }
    few = draw_corpus(both.engine, snapshot_id, ["his"], 10)
    assert (few.labelled, few.unlabelled) == (corpus.labelled, 10)
    assert few.sha == draw_corpus(both.engine, snapshot_id, ["his"], 10).sha != corpus.sha
    assert len(draw_corpus(both.engine, snapshot_id, None, None).taught) > len(taught)


def test_an_encoder_is_published_held_against_its_start_and_can_be_trained_on(
    hospital: World, reconfigured: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[Path] = []

    def listen(spelling: Any, tokenizer: Any, store: Any, masks: Any, **options: Any) -> Any:
        tokens.extend(options["checkpoint_folder"].glob("tokens/*"))
        return real(spelling, tokenizer, store, masks, **options)

    real = pretrain_learning.pretrain
    monkeypatch.setattr(pretrain_learning, "pretrain", listen)
    made = pretrained(hospital, replace(SCRATCH, epochs=5.0))
    assert made.perplexity_after < made.perplexity_before
    assert (made.labelled, made.unlabelled) == (len(of("train", LABELLED)), len(of("train", UNLABELLED)))
    assert tokens  # they were there, and nothing of them is now
    assert not pretraining_of(hospital.settings, CLASSIFIER).exists()

    folder = Path(made.folder)
    facts = pretraining_facts(folder)
    told = json.dumps(facts)
    assert not [word for word in text_of(0, "benigno").split() if f'"{word}"' in told]
    assert facts["exam"]["after"]["perplexity"] == made.perplexity_after
    assert facts["reports"]["patients"] == made.patients
    assert facts["losses"][-1][1] < facts["losses"][0][1]

    run_id, helped = compared(hospital, made)
    held = of("calibration", LABELLED)
    assert helped.judged_reports == len(held)
    assert helped.gain == pytest.approx(helped.f1_macro - helped.control_f1_macro)
    with reading(hospital.engine) as c:
        rows = c.execute(select(metric).where(metric.c.run_id == run_id)).all()
        [line] = c.execute(select(audit).where(audit.c.subject == f"encoder {made.name}")).all()
    kept = {(row.subject, row.name): row.value for row in rows if row.slice == "all"}
    assert kept["pretrained", "f1_macro_gain"] == helped.gain
    assert kept["control", "perplexity"] == made.perplexity_before
    assert [[int(row.slice[5:]), row.value] for row in rows if row.name == "masked_loss"] == facts["losses"]
    assert (line.actor, line.action) == ("pretrain", "pretrained")
    page = pretraining_page_path(hospital.settings, made.name, "md").read_text()
    assert "Loss, step by step" in page
    assert f"{made.tokens:,}" in page

    again = pretrained(hospital, replace(SCRATCH, epochs=5.0))
    assert (again.name, again.reused) == (made.name, True)
    monkeypatch.setattr(pretrain_learning, "pretrain", real)
    further = pretrained(hospital, Asked(start=str(folder), epochs=0.1))
    # it goes on with the head that it learnt
    assert further.perplexity_before == pytest.approx(made.perplexity_after, rel=1e-3)

    named = reconfigured(hospital, encoder=str(folder))
    assert retrain(named).trained.trained == "full"


def test_the_control_is_the_network_before_it_read_anything(hospital: World) -> None:
    made = pretrained(hospital)
    folder = EncoderSpec("folder", made.folder)
    loaded = load_encoder(folder, LABELS, seed=hospital.settings.seed)
    drawn, tokenizer = untrained_like(loaded, hospital.settings.seed)
    corpus = draw_corpus(hospital.engine, frozen(hospital), None, None)
    owned = [one for page in owned_texts(hospital.engine, corpus) for one in page]
    spec = EncoderSpec(**pretraining_facts(Path(made.folder))["config"]["start"])
    fresh, learnt = make_scratch(
        [text for _, text in owned], LABELS, spec, hospital.settings.seed, patients=[one for one, _ in owned]
    )
    assert tokenizer.get_vocab() == learnt.get_vocab()
    assert all(torch.equal(tensor, fresh.state_dict()[name]) for name, tensor in drawn.state_dict().items())
    # its pooler, which no hidden word teaches, came along; the rest moved
    weights = loaded[0].state_dict()
    assert torch.equal(weights["bert.pooler.dense.weight"], fresh.bert.pooler.dense.weight)
    assert not torch.equal(
        weights["bert.embeddings.word_embeddings.weight"], fresh.bert.embeddings.word_embeddings.weight
    )


def test_a_classifier_with_attention_has_the_body_below_it_pretrained(
    hospital: World, reconfigured: Callable[..., World]
) -> None:
    plain = pretrained(hospital, replace(SCRATCH, epochs=0.1))
    for pooling in ("sentences", "attention"):
        attentive = reconfigured(hospital, training=TRAINING | {"pooling": pooling})
        made = pretrained(attentive, replace(SCRATCH, epochs=0.1))
        assert (made.name, made.reused) == (plain.name, True)  # what reads it makes no difference to it
    further = pretrained(attentive, Asked(start=made.folder, epochs=0.1))
    assert further.perplexity_before == pytest.approx(made.perplexity_after, rel=1e-3)


def test_no_report_stays_behind_when_it_fails_and_what_a_kill_left_is_cleared_away(
    hospital: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: Any, **__: Any) -> Any:
        raise TrainingDiverged("the loss is no longer a number at step 3")

    monkeypatch.setattr(pretrain_learning, "pretrain", diverge)
    with pytest.raises(TrainingDiverged):
        pretrained(hospital)
    work = pretraining_of(hospital.settings, CLASSIFIER)
    assert not list(work.glob("*/tokens"))
    assert not pretrained_folder(hospital.settings).exists()

    killed = work / "0123456789ab"
    (killed / "checkpoint-100").mkdir(parents=True)
    (killed / "tokens").mkdir()
    (killed / "tokens" / "windows.arrow").write_bytes(b"0")
    (half := pretrained_folder(hospital.settings) / ".partial-x").mkdir(parents=True)
    now = hospital.now.now(hospital.now.tzinfo)
    with reading(hospital.engine) as c:
        found = {one.path: one for one in leftovers(c, hospital.settings, [], now)}
    assert set(found) == {killed / "tokens", half}
    assert not any(one.old(hospital.settings) for one in found.values())
    day = timedelta(hours=25)
    run_id = hospital.run("retention")
    apply(hospital.engine, hospital.settings, run_id, "retention", now + day, lambda _: None)
    assert not (killed / "tokens").exists()
    assert not half.exists()
    assert (killed / "checkpoint-100").exists()  # weights, no report: they may wait for their run
    apply(hospital.engine, hospital.settings, run_id, "retention", now + timedelta(days=15), lambda _: None)
    assert not killed.exists()


def test_an_interrupted_one_goes_on_with_its_own_reports_unless_one_was_erased(
    hospital: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = replace(SCRATCH, epochs=0.1)

    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pretrain_learning, "pretrain", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pretrained(hospital, asked)
    hospital.add(range(300, 340))  # a night's ingest
    of_before = (len(of("train", LABELLED)), len(of("train", UNLABELLED)))
    made = pretrained(hospital, asked)
    assert (made.labelled, made.unlabelled) == of_before
    file, snapshot_id = tmp_path / "corpus.json", frozen(hospital)
    corpus = draw_corpus(hospital.engine, snapshot_id, None, None)
    assert corpus.labelled > made.labelled
    remember(corpus, file)
    again = remembered(hospital.engine, snapshot_id, None, file)
    assert again is not None
    assert (again.taught, again.exam, again.sha) == (corpus.taught, corpus.exam, corpus.sha)
    hospital.forget([next(number for number in LABELLED if split_of(patient_key(number)) == "train")])
    assert remembered(hospital.engine, snapshot_id, None, file) is None


def test_other_texts_under_the_same_numbers_are_other_reports(both: World, tmp_path: Path) -> None:
    both.add(LABELLED)
    asked, file, snapshot_id = replace(SCRATCH, epochs=0.1), tmp_path / "corpus.json", frozen(both)
    made = pretrained(both, asked)
    assert pretrained(both, asked).reused
    remember(draw_corpus(both.engine, snapshot_id, None, None), file)
    # as after an older database was restored into the folder in use, and other reports came
    with writing(both.engine) as c:
        said = func.replace(report_version.c.text, "paciente", "controle")
        c.execute(update(report_version).values(text=said))
    assert remembered(both.engine, snapshot_id, None, file) is None
    other = pretrained(both, asked)
    assert not other.reused
    assert other.name != made.name


def test_a_report_erased_while_it_teaches_ends_the_pre_training_and_nothing_of_it_stays(
    hospital: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = pretraining_of(hospital.settings, CLASSIFIER)
    there: list[bool] = []

    def learning(*_: Any, checkpoint_folder: Path, progress: Callable[[int, int], None], **__: Any) -> Any:
        (checkpoint_folder / "checkpoint-100").mkdir()
        progress(1, 9)  # the control: nothing is gone yet
        examined = next(number for number in LABELLED if split_of(patient_key(number)) == "calibration")
        hospital.forget([examined])
        progress(2, 9)  # what only examines is in no token
        hospital.forget([next(number for number in LABELLED if split_of(patient_key(number)) == "train")])
        there.append((checkpoint_folder / "tokens").is_dir())
        progress(3, 9)
        raise AssertionError("it went on")

    monkeypatch.setattr(pretrain_learning, "pretrain", learning)
    monkeypatch.setattr(pretrain_learning, "LOOK_EVERY_S", 0.0)
    with pytest.raises(LaudosError, match="1 reports were erased while an encoder learnt from them"):
        pretrained(hospital)
    assert there == [True]
    assert not list(work.glob("*"))
    assert not pretrained_folder(hospital.settings).exists()


def test_erased_reports_are_counted_on_both_databases(both: World) -> None:
    both.add(range(6))
    with reading(both.engine) as c:
        ids = list(c.scalars(select(report_version.c.id)))
        assert snapshots.erased(c, ids) == 0
    both.forget([1, 4])
    with reading(both.engine) as c:
        assert snapshots.erased(c, ids) == 2
        assert snapshots.erased(c, [*ids, max(ids) + 1]) == 3


def test_an_encoder_whose_row_a_kill_kept_back_gets_it_when_it_is_used_again(
    hospital: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(SCRATCH, epochs=0.1)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pretrain, "_record", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrained(hospital, asked)
    with reading(hospital.engine) as c:
        [folder] = unrecorded(c, hospital.settings)
    assert pretrained(hospital, asked).reused
    pretrained(hospital, asked)
    with reading(hospital.engine) as c:
        assert unrecorded(c, hospital.settings) == []
        [row] = c.execute(select(audit).where(audit.c.subject == f"encoder {folder.name}")).all()
    assert row.detail["reports"] == pretraining_facts(folder)["read"]["reports"]


def test_another_pre_training_of_the_classifier_forgets_what_a_killed_one_left_of_the_reports(
    hospital: World,
) -> None:
    tokens = pretraining_of(hospital.settings, CLASSIFIER) / "0123456789ab" / "tokens"
    tokens.mkdir(parents=True)
    pretrained(hospital, replace(SCRATCH, epochs=0.1))
    assert not tokens.exists()


def test_what_cannot_be_done_is_told(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no folder of that name is here"):
        starting(world.settings, CLASSIFIER, str(tmp_path / "nowhere"))
    assert starting(world.settings, CLASSIFIER, None) == world.settings.classifier(CLASSIFIER)
    assert starting(world.settings, CLASSIFIER, str(tmp_path)).encoder == str(tmp_path)
    with pytest.raises(NothingToWorkOn, match="0 hospital reports of training patients"):
        draw_corpus(world.engine, 1, None, None)


def test_the_next_sentence_is_asked_where_it_is_wanted(hospital: World) -> None:
    made = pretrained(hospital, replace(SCRATCH, epochs=0.1, next_sentence=True))
    facts = pretraining_facts(Path(made.folder))
    assert facts["pairs"]["asked"] > 0
    _, helped = compared(hospital, made)
    assert helped.judged_reports > 0
    page = pretraining_page_path(hospital.settings, made.name, "md").read_text()
    assert "following parts told from foreign ones" in page


def test_what_could_not_be_judged_afterwards_is_told_before_anything_is_learnt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learning(*_: Any, **__: Any) -> Any:
        raise AssertionError("it began")

    monkeypatch.setattr(pretrain_learning, "pretrain", learning)
    calibration = [number for number in LABELLED if split_of(patient_key(number)) == "calibration"]
    world.add(number for number in LABELLED if number not in calibration[1:])
    with pytest.raises(UnfitData, match="one half of the 1 there are is empty: label reports of more"):
        pretrained(world)
    world.add(calibration[1:])
    with writing(world.engine) as c:
        c.execute(update(report_version).values(text=func.replace(report_version.c.text, ".", "")))
    with pytest.raises(UnfitData, match="leave --next-sentence out"):
        pretrained(world, replace(SCRATCH, next_sentence=True))
    with pytest.raises(AssertionError, match="it began"):
        pretrained(world)


def test_an_altered_encoder_is_not_used_again(hospital: World) -> None:
    asked = replace(SCRATCH, epochs=0.1)
    made = pretrained(hospital, asked)
    with (Path(made.folder) / "model.safetensors").open("ab") as weights:
        weights.write(b"0")
    with pytest.raises(BrokenArtifact, match=r"model\.safetensors was altered"):
        pretrained(hospital, asked)


CHILD = """
import torch
from datetime import UTC, datetime
from tasks.database import open_database
from tasks.settings.settings import Settings
from tests.learning.test_pretrain import LONG, pretrained
from tests.learning.world import World

torch.set_num_threads(1)
settings = Settings.load()
pretrained(World(open_database(settings), settings, datetime.now(UTC)), LONG)
"""
# some 430 steps, a checkpoint every hundred
LONG = Asked(start="scratch", epochs=5.0)


@pytest.mark.slow
def test_a_killed_pre_training_goes_on_from_its_checkpoint_and_its_tokens(
    hospital: World, reconfigured: Callable[..., World]
) -> None:
    hospital = reconfigured(hospital, training=TRAINING | {"batch_reports": 1})
    work = pretraining_of(hospital.settings, CLASSIFIER)
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=root, env=environment)
    give_up = time.monotonic() + 120
    while not any(mark.stat().st_size for mark in work.glob("*/checkpoint-*/COMPLETE")):
        assert child.poll() is None, "the pre-training ended before it could be killed"
        assert time.monotonic() < give_up, "no checkpoint was written"
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list(work.glob("*/tokens/windows.arrow"))
    assert not pretrained_folder(hospital.settings).exists()
    made = pretrained(hospital, LONG)
    [note] = made.notes
    assert int(note.split(" step ")[1].split()[0]) >= 100
    assert not work.exists()
    assert pretraining_facts(Path(made.folder))["steps"] == made.steps
