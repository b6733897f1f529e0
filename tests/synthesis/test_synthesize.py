"""Synthetic sets as rows: repeatable, balanced, replaced as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select, update

from db import offenders, snapshots, synthetic_sets
from db.engine import open_engine, reading
from db.errors import ConfigurationError, LaudosError, NothingToWorkOn
from db.ledger import Counts
from db.tables import label, report, report_version, run, run_batch, source, synthetic_set
from flows.synthesize import synthesize
from tasks.ml import faultpoints
from tasks.ml.audit.result import Audit, Check
from tasks.ml.splits import SPLITS
from tasks.ml.synthesis.reports import SyntheticReport
from tasks.ml.synthesis.reports import synthesize as generate
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.synthesis.synthesize import SetWritten, write_set, write_synthetic_reports
from tasks.training.training_set import freeze
from tests.runs import begin


def asked(**changes: object) -> ClassifierSettings:
    recipe = {"reports_per_row": 2, "reserved_share": 0.87, **changes}
    taught = {"labels": ["benigno", "maligno"], "critical": "maligno", "training_labels": ["synthetic"]}
    return ClassifierSettings.model_validate(taught | {"synthetic": recipe})


@pytest.fixture
def write(engine: Engine, now: datetime) -> Callable[..., SetWritten]:
    def written(
        classifier: ClassifierSettings | None = None, *, seed: int | None = None, at: datetime = now
    ) -> SetWritten:
        run_id = begin(engine, "synthesize", at)
        return write_set(engine, run_id, "mama", classifier or asked(), 0, seed, at)

    return written


def present(engine: Engine) -> dict[str, tuple[int, str | None, str]]:
    """external id -> current version, text, label of what is not retired."""
    query = (
        select(report.c.external_id, report.c.current_version, report_version.c.text, label.c.value)
        .join(report_version, report_version.c.report_id == report.c.id)
        .join(label, label.c.report_version_id == report_version.c.id)
        .where(report.c.deleted_at.is_(None), report_version.c.version == report.c.current_version)
    )
    with reading(engine) as c:
        return {row.external_id: tuple(row[1:]) for row in c.execute(query)}


def test_a_set_is_written_with_its_labels_and_its_share_of_the_ledger(
    engine: Engine, write: Callable[..., SetWritten]
) -> None:
    told = write()
    assert told.rows * 2 == told.counts.read == told.counts.new
    assert told.retired == 0
    rows = present(engine)
    assert len(rows) == told.counts.read
    assert {value for _, _, value in rows.values()} == {"benigno", "maligno"}
    with reading(engine) as c:
        assert c.execute(select(source.c.name, source.c.kind)).one() == ("synthetic:mama", "synthetic")
        sums = [
            func.sum(run_batch.c[name]) for name in ("read", "new", "updated", "unchanged", "quarantined")
        ]
        assert Counts(*c.execute(select(*sums)).one()) == told.counts
        assert c.scalar(select(run.c.read)) == told.counts.read
        keys = set(c.scalars(select(report.c.patient_key)))
    assert len(keys) == told.rows
    assert all(key.startswith("wdbc-") for key in keys)


def test_the_same_set_again_changes_nothing(engine: Engine, write: Callable[..., SetWritten]) -> None:
    first = write()
    before = present(engine)
    again = write()
    assert again.counts == Counts(read=first.counts.read, unchanged=first.counts.read)
    assert again.retired == 0
    assert present(engine) == before


def test_another_seed_replaces_the_set_and_the_first_can_come_back(
    engine: Engine, write: Callable[..., SetWritten]
) -> None:
    first = write()
    before = present(engine)
    other = write(seed=1)
    assert other.counts.new == other.retired == first.counts.read
    assert not before.keys() & present(engine).keys()
    back = write(seed=0)
    assert back.counts.unchanged == back.retired == first.counts.read
    assert present(engine) == before


def test_a_set_is_renewed_when_it_is_too_old_and_not_before(
    write: Callable[..., SetWritten], now: datetime
) -> None:
    assert write(at=now).seed == 0
    assert write(at=now + timedelta(days=6)).seed == 0
    renewed = write(at=now + timedelta(days=8))
    assert renewed.seed == 1
    assert renewed.retired == renewed.counts.read
    assert write(at=now + timedelta(days=9)).seed == 1


def test_another_mode_makes_new_versions_of_the_same_reports(
    engine: Engine, write: Callable[..., SetWritten]
) -> None:
    write()
    concluded = write(asked(mode="full"))
    assert concluded.counts.updated == concluded.counts.read
    rows = present(engine).values()
    assert {version for version, _, _ in rows} == {2}
    assert len(rows) == concluded.counts.read
    with reading(engine) as c:
        assert c.execute(offenders.runs_unlike_their_versions()).all() == []


def test_fewer_reports_a_row_retire_the_rest(engine: Engine, write: Callable[..., SetWritten]) -> None:
    first = write()
    fewer = write(asked(reports_per_row=1))
    assert fewer.retired == fewer.counts.unchanged == first.counts.read // 2
    assert all(external_id.endswith("-000") for external_id in present(engine))


def test_labels_go_by_the_names_the_configuration_gives_them(
    engine: Engine, write: Callable[..., SetWritten]
) -> None:
    write()
    renamed = ClassifierSettings(
        labels=["neg", "pos"],
        critical="pos",
        training_labels=["synthetic"],
        label_values={"benigno": "neg", "maligno": "pos"},
        synthetic=asked().synthetic,
    )
    told = write(renamed)
    assert told.counts.unchanged == told.counts.read
    assert {value for _, _, value in present(engine).values()} == {"neg", "pos"}


FIRST_PAGES = "synthesize.page.committed"
CUTS = (FIRST_PAGES, "synthesize.set.amended", "synthesize.set.swapped")  # the last two: before it commits


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stop a piece of work at a place: between pages after the second. No audit: it has tests of its own."""
    sound = Audit(1, 1, {}, 1, True, (Check("words", "passed", "p"),))
    monkeypatch.setattr("tasks.synthesis.audit._audit", lambda *_: sound)
    monkeypatch.setattr("tasks.synthesis.synthesize.PAGE_REPORTS", 20)

    def stopped(point: str, work: Callable[[], object]) -> None:
        reached = iter((point,) if point != FIRST_PAGES else (None, point))

        def stop(at: str) -> None:
            if at == point and next(reached) == point:
                raise KeyboardInterrupt

        with monkeypatch.context() as dying:
            dying.setattr(faultpoints, "_strike", stop)
            with pytest.raises(KeyboardInterrupt):
                work()

    return stopped


def frozen(engine: Engine, classifier: ClassifierSettings, at: datetime) -> tuple[set[str], int | None]:
    """What a retrain would be taught: texts, and the set it records."""
    with reading(engine) as c:
        run_id = c.scalar(select(func.max(run.c.id)))
    snapshot_id = freeze(engine, run_id or 0, "mama", classifier, at)
    with reading(engine) as c:
        parts = [snapshots.with_texts(c, snapshot_id, split) for split in SPLITS]
        recorded = snapshots.existing(c, snapshot_id).recipe.get("synthetic_set")
    return {row["text"] for part in parts for row in part}, recorded


@pytest.mark.parametrize("change", ["seed", "mode", "names"])
def test_a_synthesis_that_is_cut_off_leaves_the_set_before_in_force(
    change: str,
    engine: Engine,
    write: Callable[..., SetWritten],
    cut: Callable[..., None],
    now: datetime,
) -> None:
    """New reports, other texts of the same reports, or other names of the labels."""
    names = {
        "labels": ["neg", "pos"],
        "critical": "pos",
        "label_values": {"benigno": "neg", "maligno": "pos"},
    }
    other = {
        "seed": asked(),
        "mode": asked(mode="full"),
        "names": asked().model_copy(update=names),
    }[change]
    seed = 1 if change == "seed" else 0
    write(asked())
    before, taught = present(engine), frozen(engine, asked(), now)
    for point in CUTS:
        cut(point, lambda: write(other, seed=seed))
        assert present(engine) == before
        assert frozen(engine, asked(), now) == taught
    with reading(engine) as c:
        standing = synthetic_sets.standing(c, "mama")
        assert standing is not None
        assert (standing.seed, standing.mode) == (0, "findings")
        assert c.execute(offenders.runs_unlike_their_versions()).all() == []
    told = write(other, seed=seed)
    after = present(engine)
    assert len(after) == told.counts.read == len(before)
    assert after != before
    assert frozen(engine, other, now) != taught


def test_of_a_first_set_that_is_cut_off_nothing_teaches(
    engine: Engine, write: Callable[..., SetWritten], cut: Callable[..., None], now: datetime
) -> None:
    for point in CUTS:
        cut(point, lambda: write())
        assert present(engine) == {}
        with pytest.raises(NothingToWorkOn, match='run "laudos synthesize" first'):
            frozen(engine, asked(), now)
    told = write()
    assert told.counts.unchanged == told.counts.read == len(present(engine))  # written ahead by those before


def test_a_retrain_beside_a_running_synthesis_takes_the_set_before(
    engine: Engine, write: Callable[..., SetWritten], monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    classifier = asked()
    write(classifier)
    taught = frozen(engine, classifier, now)
    seen = []
    monkeypatch.setattr("tasks.synthesis.synthesize.PAGE_REPORTS", 50)
    monkeypatch.setattr(
        "tasks.synthesis.synthesize.progress_bar",
        lambda _: nullcontext(lambda *_: seen.append(frozen(engine, classifier, now))),
    )
    write(classifier, seed=1)
    assert len(seen) > 2
    assert all(one == taught for one in seen)


def test_doctor_names_a_source_of_which_other_reports_stand_than_those_of_its_set(
    engine: Engine, write: Callable[..., SetWritten]
) -> None:
    write()
    write(seed=1)
    query = offenders.sources_unlike_their_set()
    with engine.connect() as c, c.begin() as undone:
        assert c.scalars(query).all() == []
        c.execute(update(report).where(report.c.external_id.like("s0-%-001")).values(deleted_at=None))
        assert c.scalars(query).all() == ["synthetic:mama"]
        undone.rollback()


def leaking(*args: object, **asked: object) -> Iterator[SyntheticReport]:
    """A generator that tells the label in every report of one kind, from seed 1 on."""
    for one in generate(*args, **asked):  # type: ignore[arg-type]
        leaks = asked["seed"] != 0 and one.label == "maligno"
        yield replace(one, text=f"{one.text}\nAnexo vermelho.") if leaks else one


def test_a_set_that_fails_the_audit_is_refused_and_the_one_before_stays(
    engine: Engine, write: Callable[..., SetWritten], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ml.synthesis.renewal.synthesize", leaking)
    write(seed=0)
    before = present(engine)
    for _ in range(2):  # the second time it is known already, and refused again
        with pytest.raises(LaudosError, match=r"seed 1 gives its labels or rows away \(.*words") as refused:
            write(seed=1)
        assert "vermelho" not in str(refused.value)
        assert type(refused.value) is LaudosError
    assert present(engine) == before
    with reading(engine) as c:
        kept = c.execute(select(synthetic_set).order_by(synthetic_set.c.id)).all()
        assert {one.external_id for one in c.execute(select(report.c.external_id))} == before.keys()
    assert [(one.seed, one.state) for one in kept] == [(0, "accepted"), (1, "refused")]
    told = {check["name"]: check["state"] for check in kept[1].audit["checks"]}
    assert (told["words"], told["near_duplicates"]) == ("failed", "passed")
    assert "vermelho" not in str(kept[1].audit)


def test_what_was_audited_is_recorded_once(engine: Engine, write: Callable[..., SetWritten]) -> None:
    told = write()
    write()
    with reading(engine) as c:
        kept = c.execute(select(synthetic_set)).one()
    recorded = (kept.seed, kept.exam, kept.mode, kept.reports_per_row, kept.rows, kept.reports, kept.state)
    assert recorded == (0, "paaf", "findings", 2, told.rows, told.counts.read, "accepted")
    assert kept.audit["passed"] is True
    assert kept.audit["reports"] == kept.audit["of_reports"] == told.counts.read
    assert sum(kept.audit["labels"].values()) == told.counts.read


def test_of_a_large_set_a_sample_is_audited(
    engine: Engine, write: Callable[..., SetWritten], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.synthesis.audit.GROUPS_MAX", 40)
    monkeypatch.setattr("tasks.synthesis.audit.REPORTS_MAX", 40)
    told = write()
    with reading(engine) as c:
        audited = c.execute(select(synthetic_set.c.audit)).scalar_one()
    assert (audited["groups"], audited["reports"], audited["of_reports"]) == (40, 40, told.counts.read)


UNFIT = [
    (asked(mode="seed"), 'mode "seed" writes the answer into the text'),
    (asked().model_copy(update={"training_labels": ["source"]}), 'add "synthetic" to its training_labels'),
    (
        asked().model_copy(update={"labels": ["a", "b"]}),
        "writes benigno, maligno, which is none of the labels",
    ),
]


@pytest.mark.parametrize(("classifier", "told"), UNFIT)
def test_what_must_not_teach_is_refused_before_anything_is_written(
    classifier: ClassifierSettings, told: str, engine: Engine, write: Callable[..., SetWritten]
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        write(classifier)
    assert not present(engine)


def test_the_flow_says_what_is_missing_where_no_classifier_learns_so(
    configure: Callable[..., Settings],
) -> None:
    configure(classifiers={"mama": {"labels": ["a", "b"], "critical": "b"}})
    with pytest.raises(NothingToWorkOn, match='add "synthetic" to its training_labels'):
        synthesize.fn()


def test_the_flow_writes_the_set_of_every_classifier_that_learns_so(
    configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = asked().model_dump(mode="json", exclude_defaults=True, exclude={"revision", "sources"})
    settings = configure(classifiers={"mama": recipe})
    # without Prefect around it: what the step does is asked here, not how it is watched
    monkeypatch.setattr("flows.synthesize.write_synthetic_reports", write_synthetic_reports.fn)
    told = synthesize.fn(None, 3).sets
    assert [(one.classifier, one.seed, one.counts.read) for one in told] == [("mama", 3, told[0].counts.new)]
    with reading(open_engine(settings.database)) as c:
        row = c.execute(select(run.c.kind, run.c.state, run.c.new)).one()
    assert row == ("synthesize", "completed", told[0].counts.new)
