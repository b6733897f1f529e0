"""A new set keeps hard reports of the one before: by id, never across splits, and repeatable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from db import synthetic_sets
from db.engine import reading
from db.synthetic_sets import RecordedSet
from db.tables import report, report_version, synthetic_set
from tasks.ml.audit.result import Audit, Check
from tasks.ml.splits import split_of
from tasks.ml.synthesis import exam_paaf
from tasks.ml.synthesis.exams import Row, generator
from tasks.ml.synthesis.renewal import RENEWALS_MAX, Candidate, Recipe, grammar_sha, hardest, renewed, sampled
from tasks.ml.synthesis.report_ids import parsed
from tasks.ml.synthesis.reports import synthesize
from tasks.settings.settings import ClassifierSettings
from tasks.synthesis.synthesize import SetWritten, write_set
from tests.runs import begin

PLAIN = Recipe("paaf", "findings", 4, 0.0)


@pytest.fixture(scope="module", autouse=True)
def _files_read_once() -> Iterator[None]:
    """Reading an exam's files takes longer than to write what is written here."""
    made = exam_paaf.Paaf()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exam_paaf, "generator", lambda: made)
        yield


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return generator("paaf").rows()[:12]


@pytest.fixture(scope="module")
def everything(rows: list[Row]) -> list[Candidate]:
    """Every report of seed 0 on these rows, the later ones harder; of every split."""
    ids = [f"s0-{row.key}-{number:03}" for row in rows for number in range(4)]
    return [Candidate(external_id, 1 - at / len(ids), 0) for at, external_id in enumerate(ids)]


def splits_of(ids: Sequence[str]) -> set[str]:
    return {split_of(parsed(external_id).row_key) for external_id in ids}


def test_only_training_reports_are_kept_the_hardest_first_and_no_more_than_asked_for(
    rows: list[Row], everything: list[Candidate]
) -> None:
    assert splits_of([one.external_id for one in everything]) == {"train", "calibration", "holdout"}
    taught = [one for one in everything if split_of(parsed(one.external_id).row_key) == "train"]
    room = int(0.25 * len(taught))
    kept = hardest(everything, PLAIN, 1, rows, 0.25)
    assert len(kept) == room
    assert splits_of(list(kept)) == {"train"}
    # half of a row at most: the two hardest of each row, from the hardest row on
    order = sorted(taught, key=lambda one: one.probability)
    first = [one.external_id for at, one in enumerate(order) if at % 4 < 2]
    assert set(kept) == set(first[:room])
    assert set(kept.values()) == {1}


def test_a_report_is_kept_three_times_at_most_and_never_in_the_set_of_its_own_seed(
    rows: list[Row], everything: list[Candidate]
) -> None:
    tired = [replace(one, outlived=RENEWALS_MAX) for one in everything]
    assert hardest(tired, PLAIN, 1, rows, 0.5) == {}
    last = hardest([replace(one, outlived=RENEWALS_MAX - 1) for one in everything], PLAIN, 1, rows, 0.5)
    assert set(last.values()) == {RENEWALS_MAX}
    assert hardest(everything, PLAIN, 0, rows, 0.5) == {}


def test_a_mixed_set_is_the_new_one_with_kept_reports_word_for_word_in_the_last_places(
    rows: list[Row], everything: list[Candidate]
) -> None:
    kept = hardest(everything, PLAIN, 1, rows, 0.25)
    mixed = list(renewed(PLAIN, 1, rows, kept))
    assert mixed == list(renewed(PLAIN, 1, rows, dict(reversed(kept.items()))))

    def written(seed: int) -> dict[str, object]:
        made = synthesize("paaf", mode="findings", reports_per_row=4, seed=seed, rows=rows)
        return {one.external_id: one for one in made}

    before, new = written(0), written(1)
    assert {one.external_id for one in mixed if parsed(one.external_id).seed == 0} == set(kept)
    assert all(one == (before | new)[one.external_id] for one in mixed)
    for row in rows:
        assert sum(one.row_key == row.key for one in mixed) == 4
    # a sample is a part of the whole, kept reports and all
    part = list(renewed(replace(PLAIN, reports_per_row=2), 1, rows, sampled(kept, 4, 2)))
    assert len(part) == 2 * len(rows)
    assert {one.external_id for one in part} <= {one.external_id for one in mixed}
    assert any(one.external_id in kept for one in part)


def test_a_report_of_another_split_cannot_be_smuggled_in(rows: list[Row]) -> None:
    judging = next(row.key for row in rows if split_of(row.key) == "holdout")
    with pytest.raises(ValueError, match="only reports of the training split"):
        list(renewed(PLAIN, 1, rows, [f"s0-{judging}-000"]))


# ------------------------------------------------------------------ as rows


def asked(**changes: object) -> ClassifierSettings:
    recipe = {"reports_per_row": 2, "reserved_share": 0.87, "kept_share": 0.3, **changes}
    taught = {"labels": ["benigno", "maligno"], "critical": "maligno", "training_labels": ["synthetic"]}
    return ClassifierSettings.model_validate(taught | {"synthetic": recipe})


Write = Callable[..., SetWritten]


@pytest.fixture
def write(engine: Engine, now: datetime, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Sets on which everything in force is hard; the audit, which has tests of its own, is not run."""
    sound = Audit(1, 1, {}, 1, True, (Check("words", "passed", "p"),))
    monkeypatch.setattr("tasks.synthesis.audit._audit", lambda *_: sound)

    def hard(standing: RecordedSet) -> list[Candidate]:
        with reading(engine) as c:
            found = synthetic_sets.in_force(c, "mama")
        ids = [one.external_id for one in found]
        return [Candidate(name, 0.1, standing.kept.get(name, 0)) for name in ids]

    def written(
        classifier: ClassifierSettings | None = None, *, seed: int | None = None, days: float = 0
    ) -> SetWritten:
        at = now + timedelta(days=days)
        run_id = begin(engine, "synthesize", at)
        return write_set(engine, run_id, "mama", classifier or asked(), 0, seed, at, hard)

    return written


def present(engine: Engine) -> dict[str, tuple[int, str, str, str]]:
    """id -> version row, row key, raw sha and institution of every report in force."""
    query = (
        select(
            report.c.external_id,
            report_version.c.id,
            report.c.patient_key,
            report_version.c.raw_sha,
            report_version.c.institution,
        )
        .join(report_version, report_version.c.report_id == report.c.id)
        .where(report.c.deleted_at.is_(None), report_version.c.version == report.c.current_version)
    )
    with reading(engine) as c:
        return {row.external_id: tuple(row[1:]) for row in c.execute(query)}


def test_a_renewed_set_keeps_hard_reports_as_the_rows_they_were_and_the_seed_gives_it_again(
    engine: Engine, write: Write
) -> None:
    first = write()
    assert (first.seed, first.kept) == (0, 0)
    before = present(engine)
    renewed = write(days=8)
    after = present(engine)
    stayed = before.keys() & after.keys()
    assert renewed.seed == 1
    assert renewed.kept == len(stayed) > 0
    assert len(after) == len(before)
    assert {name: after[name] for name in stayed} == {name: before[name] for name in stayed}
    assert splits_of(list(stayed)) == {"train"}
    assert all(
        split_of(row_key) == split_of(parsed(name).row_key) for name, (_, row_key, *_) in after.items()
    )
    # once more, and after another set and back
    assert write(days=9).counts.unchanged == len(after)
    assert write(seed=7, days=9).retired > 0
    again = write(seed=1, days=10)
    assert (again.kept, present(engine)) == (renewed.kept, after)
    with reading(engine) as c:
        kept = c.execute(
            select(synthetic_set.c.seed, synthetic_set.c.kept).order_by(synthetic_set.c.id)
        ).all()
    assert [(one.seed, len(one.kept)) for one in kept[:2]] == [(0, 0), (1, renewed.kept)]
    assert set(kept[1].kept) == stayed


def test_a_changed_recipe_keeps_nothing(
    engine: Engine, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    full, fewer = {"mode": "full"}, {"mode": "full", "reserved_share": 0.88}
    kept = [write(asked(**recipe), days=8 * (at + 1)).kept for at, recipe in enumerate((full, fewer, fewer))]
    assert kept[:2] == [0, 0]
    assert kept[2] > 0  # nothing had changed
    with monkeypatch.context() as reworded:
        reworded.setattr("tasks.synthesis.synthesize.grammar_sha", lambda *_: "0" * 64)
        told = write(asked(**fewer), days=32)
        assert (told.seed, told.kept) == (4, 0)
        assert {parsed(name).seed for name in present(engine)} == {4}
        assert write(asked(**fewer, kept_share=0.0), days=40).kept == 0


def test_other_code_or_other_reserved_rows_make_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    told = grammar_sha.__wrapped__("paaf", 0.0)
    assert told == grammar_sha.__wrapped__("paaf", 0.0)
    assert told != grammar_sha.__wrapped__("paaf", 0.5)  # what is low and high is learnt from other rows
    monkeypatch.setattr("tasks.ml.synthesis.writer._sentence", lambda text: text)
    assert told != grammar_sha.__wrapped__("paaf", 0.0)


def test_a_set_that_is_sound_only_without_its_kept_reports_goes_without(
    engine: Engine, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write()
    seen: list[int] = []

    def strict(recipe: object, reports: Sequence[object]) -> Audit:
        seen.append(len(reports))
        state = "failed" if len(seen) == 1 else "passed"
        return Audit(1, 1, {}, 1, True, (Check("words", state, "p"),))  # type: ignore[arg-type]

    monkeypatch.setattr("tasks.synthesis.audit._audit", strict)
    told = write(days=8)
    assert (told.kept, told.retired, len(seen)) == (0, first.counts.read, 2)
    with reading(engine) as c:
        query = select(synthetic_set.c.state, synthetic_set.c.kept).order_by(synthetic_set.c.id)
        states = [(one.state, bool(one.kept)) for one in c.execute(query)]
    assert states == [("accepted", False), ("refused", True), ("accepted", False)]
