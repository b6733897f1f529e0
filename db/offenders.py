"""The queries of the doctor: each selects what breaks one promise, and nothing where it is kept.

Every query has one column: an id, or ids joined by a slash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    union_all,
)

from db import backlog, scoring
from db.quarantine import SCORING_FAILED
from db.tables import (
    champion,
    feature,
    model,
    prediction,
    promotion,
    quarantine,
    report,
    report_version,
    run,
    run_batch,
    score_chunk,
    score_job,
    snapshot,
    snapshot_item,
    source,
    synthetic_set,
)

LEDGER = ("read", "new", "updated", "unchanged", "quarantined")


def ids(*columns: ColumnElement[Any]) -> ColumnElement[str]:
    """The columns as one text: 3/17."""
    joined: ColumnElement[str] = cast(columns[0], String)
    for column in columns[1:]:
        joined = joined + literal("/") + cast(column, String)
    return joined


def unbalanced(table: Table, *key: ColumnElement[Any]) -> Select[Any]:
    columns = table.c
    return select(ids(*key)).where(
        columns.read != columns.new + columns.updated + columns.unchanged + columns.quarantined
    )


def runs_unlike_their_batches() -> Select[Any]:
    unlike = or_(*(run.c[name] != func.coalesce(func.sum(run_batch.c[name]), 0) for name in LEDGER))
    return (
        select(run.c.id)
        .outerjoin(run_batch, run_batch.c.run_id == run.c.id)
        .group_by(run.c.id)
        .having(unlike)
    )


def runs_unlike_their_versions() -> Select[Any]:
    """What a run says it took in is what it wrote: first versions are new, later ones updated."""
    first = report_version.c.version == 1
    wrote = (
        select(
            report_version.c.run_id,
            func.sum(case((first, 1), else_=0)).label("new"),
            func.sum(case((first, 0), else_=1)).label("updated"),
        )
        .group_by(report_version.c.run_id)
        .subquery()
    )
    unlike = or_(*(run.c[name] != func.coalesce(wrote.c[name], 0) for name in ("new", "updated")))
    return select(run.c.id).outerjoin(wrote, wrote.c.run_id == run.c.id).where(unlike)


def versions_with_gaps() -> Select[Any]:
    numbers = report_version.c.version
    gap = or_(func.min(numbers) != 1, func.max(numbers) != func.count())
    return select(report_version.c.report_id).group_by(report_version.c.report_id).having(gap)


def not_the_last_version() -> Select[Any]:
    versions = (
        select(report_version.c.report_id, func.max(report_version.c.version).label("last"))
        .group_by(report_version.c.report_id)
        .subquery()
    )
    return (
        select(report.c.id)
        .outerjoin(versions, versions.c.report_id == report.c.id)
        .where(report.c.current_version != func.coalesce(versions.c.last, 0))
    )


def written_twice() -> Select[Any]:
    """The table's key forbids it; a key that was dropped, or a damaged index, does not."""
    key = (prediction.c.model_id, prediction.c.report_version_id)
    return select(ids(*key)).group_by(*key).having(func.count() > 1)


def written_under_another_lease() -> Select[Any]:
    chunk = and_(score_chunk.c.job_id == prediction.c.job_id, score_chunk.c.seq == prediction.c.chunk_seq)
    job = score_job.c.id == prediction.c.job_id
    wrong = or_(
        score_chunk.c.job_id.is_(None),
        score_chunk.c.fence != prediction.c.fence,
        score_chunk.c.state != "done",
        score_job.c.model_id != prediction.c.model_id,
        ~prediction.c.report_version_id.between(
            score_chunk.c.first_version_id, score_chunk.c.last_version_id
        ),
    )
    key = ids(prediction.c.model_id, prediction.c.report_version_id)
    return select(key).outerjoin(score_chunk, chunk).outerjoin(score_job, job).where(wrong)


def chunks_with_other_counts() -> Select[Any]:
    mine = and_(prediction.c.job_id == score_chunk.c.job_id, prediction.c.chunk_seq == score_chunk.c.seq)
    return (
        select(ids(score_chunk.c.job_id, score_chunk.c.seq))
        .outerjoin(prediction, mine)
        .group_by(score_chunk.c.job_id, score_chunk.c.seq, score_chunk.c.written)
        .having(func.coalesce(score_chunk.c.written, 0) != func.count(prediction.c.report_version_id))
    )


def jobs_ended_wrongly() -> Select[Any]:
    """Done with chunks left, or unfinished with none left."""
    unfinished = and_(score_chunk.c.job_id == score_job.c.id, score_chunk.c.state != "done")
    left = select(score_chunk.c.seq).where(unfinished).exists()
    return select(score_job.c.id).where(
        or_(
            and_(score_job.c.state == "done", left),
            and_(score_job.c.state.in_(scoring.UNFINISHED), ~left),
        )
    )


def overlapping_chunks() -> Select[Any]:
    """Chunks that begin before the one before them in their job ends."""
    one_before = func.lag(score_chunk.c.last_version_id).over(
        partition_by=score_chunk.c.job_id, order_by=(score_chunk.c.first_version_id, score_chunk.c.seq)
    )
    ranges = select(
        ids(score_chunk.c.job_id, score_chunk.c.seq).label("chunk"),
        score_chunk.c.first_version_id,
        score_chunk.c.last_version_id,
        one_before.label("one_before"),
    ).subquery()
    overlaps = ranges.c.first_version_id <= ranges.c.one_before
    backwards = ranges.c.last_version_id < ranges.c.first_version_id
    return select(ranges.c.chunk).where(or_(overlaps, backwards))


def classifiers_with_two_open_jobs() -> Select[Any]:
    open_jobs = select(score_job.c.classifier).where(score_job.c.state.in_(scoring.UNFINISHED))
    return open_jobs.group_by(score_job.c.classifier).having(func.count() > 1)


def champions_nobody_promoted() -> Select[Any]:
    """The champion must be what the last promotion (or rollback) of its classifier says, epoch included.

    Where the last decision ended the classifier there must be none.
    """
    epochs = (
        select(
            promotion.c.classifier, func.max(promotion.c.epoch).label("epoch"), func.count().label("changes")
        )
        .where(promotion.c.epoch.is_not(None))
        .group_by(promotion.c.classifier)
        .subquery()
    )
    last = promotion.alias()
    answers = and_(champion.c.model_id == last.c.model_id, champion.c.epoch == last.c.epoch)
    as_decided = case(
        (last.c.decision == "ended", champion.c.model_id.is_(None)),
        else_=and_(champion.c.model_id.is_not(None), answers),
    )
    unlike = or_(not_(as_decided), epochs.c.changes != epochs.c.epoch)
    changed = and_(last.c.classifier == epochs.c.classifier, last.c.epoch == epochs.c.epoch)
    promised = (
        select(epochs.c.classifier)
        .join(last, changed)
        .outerjoin(champion, champion.c.classifier == epochs.c.classifier)
        .where(unlike)
    )
    never = select(promotion.c.id).where(
        promotion.c.classifier == champion.c.classifier, promotion.c.epoch.is_not(None)
    )
    both = union_all(promised, select(champion.c.classifier).where(~never.exists())).subquery()
    return select(both.c.classifier)


def patients_in_two_splits() -> Select[Any]:
    """In the training sets that count: each classifier's last, and those of models that answer.

    A patient corrected at the source joins two splits of older ones, and nothing could mend that.
    """
    last = select(func.max(snapshot.c.id)).group_by(snapshot.c.classifier)
    answering = select(model.c.snapshot_id).join(champion, champion.c.model_id == model.c.id)
    # one report stands for the patient: a key, even hashed, is no business of a log
    return (
        select(ids(snapshot_item.c.snapshot_id, func.min(report.c.id)))
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(or_(snapshot_item.c.snapshot_id.in_(last), snapshot_item.c.snapshot_id.in_(answering)))
        .group_by(snapshot_item.c.snapshot_id, report.c.patient_key)
        .having(func.count(snapshot_item.c.split.distinct()) > 1)
    )


def sources_unlike_their_set() -> Select[Any]:
    """Synthetic sources of which another number of reports stands than their set in force has."""
    last = (
        select(synthetic_set.c.reports)
        .where(synthetic_set.c.source_id == source.c.id, synthetic_set.c.written_at.is_not(None))
        .order_by(synthetic_set.c.written_at.desc(), synthetic_set.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    standing = (
        select(func.count())
        .where(report.c.source_id == source.c.id, report.c.deleted_at.is_(None))
        .scalar_subquery()
    )
    # what was written before sets were recorded has none to be held against: null is unlike nothing
    return select(source.c.name).where(source.c.kind == "synthetic", last != standing)


def snapshots_unlike_their_items() -> Select[Any]:
    items = (
        select(snapshot_item.c.snapshot_id, func.count().label("reports"))
        .group_by(snapshot_item.c.snapshot_id)
        .subquery()
    )
    return (
        select(snapshot.c.id)
        .outerjoin(items, items.c.snapshot_id == snapshot.c.id)
        .where(snapshot.c.reports != func.coalesce(items.c.reports, 0))
    )


def encoders_with_unequal_vectors() -> Select[Any]:
    """Vectors of one encoder are equally long, and whole float32 numbers."""
    length = func.length(feature.c.vector)
    unequal = or_(func.min(length) != func.max(length), func.min(length) == 0, func.max(length) % 4 != 0)
    short = func.substr(feature.c.encoder_sha, 1, 12)
    return select(short).group_by(feature.c.encoder_sha).having(unequal)


def left_behind(model_id: int, sources: Sequence[str] | None) -> Select[Any]:
    """Versions that a done job of the model went over and that it neither predicted nor quarantined.

    Only in chunks that wrote less than they were cut for: a report that came back to its source, or whose
    ingest committed late, was not in the backlog then and is the next job's; and so is what a retry from
    the quarantine set free since. A prediction that vanished is found by `chunks_with_other_counts`.
    """
    done = and_(score_job.c.model_id == model_id, score_job.c.state == "done")
    # after the last done job was cut nothing can have been left behind: spares a fresh backlog the search
    last_cut = select(func.max(score_job.c.created_at)).where(done).scalar_subquery()
    version = report_version.c
    waiting = (
        backlog.waiting(model_id, sources)
        .with_only_columns(
            version.id, version.created_at, version.raw_sha, report.c.source_id, report.c.external_id
        )
        .where(version.created_at <= last_cut)
        .cte("waiting")
        # first what waits, mostly nothing: the other way round every version is held against every chunk
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    freed = select(quarantine.c.id).where(
        quarantine.c.source_id == waiting.c.source_id,
        quarantine.c.external_id == waiting.c.external_id,
        quarantine.c.raw_sha == waiting.c.raw_sha,
        quarantine.c.reason == SCORING_FAILED,
        quarantine.c.classifier.in_(("", backlog.classifier_of(model_id))),
        quarantine.c.closed_at >= score_job.c.created_at,
    )
    covered = (
        select(true())
        .select_from(score_chunk)
        .join(score_job, score_job.c.id == score_chunk.c.job_id)
        .where(
            done,
            waiting.c.id.between(score_chunk.c.first_version_id, score_chunk.c.last_version_id),
            waiting.c.created_at <= score_job.c.created_at,
            score_chunk.c.reports > func.coalesce(score_chunk.c.written, 0),
            ~freed.correlate(waiting, score_job).exists(),
        )
        .correlate(waiting)
    )
    return select(waiting.c.id).where(covered.exists())
