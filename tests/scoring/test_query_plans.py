"""What a chunk costs does not grow with the backlog: none of its statements goes through a whole table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from db import features, scoring
from db.engine import reading, writing
from tasks.scoring.scorer import load_scorer
from tests.scoring.hospital import Hospital

# what grows with the backlog; a job's few hundred chunks do not
GROWING = ("report", "report_version", "prediction", "feature", "quarantine")


@contextmanager
def statements(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """What the engine is asked inside the block: SQL as the driver gets it, with its values."""
    asked: list[tuple[str, Any]] = []

    def keep(_c: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        asked.append((statement, values[0] if many else values))

    event.listen(engine, "before_cursor_execute", keep)
    yield asked
    event.remove(engine, "before_cursor_execute", keep)


def whole_tables(c: Connection, statement: str, values: Any) -> list[str]:
    """The growing tables that the statement goes through from one end to the other, by its plan."""
    if not statement.lstrip().startswith(("SELECT", "INSERT", "UPDATE")):
        return []
    if c.dialect.name == "sqlite":
        lines = [row[3].split() for row in c.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
        return [words[1] for words in lines if words[0] == "SCAN" and words[1] in GROWING]
    # a handful of rows is read whole, whatever index there is: what is left of that now has none to take
    c.execute(text("SET LOCAL enable_seqscan = off"))
    lines = [row[0] for row in c.exec_driver_sql(f"EXPLAIN {statement}", values)]
    return [name for name in GROWING for line in lines if f"Seq Scan on {name} " in f"{line} "]


def score_a_chunk(hospital: Hospital) -> None:
    job = hospital.cut(hospital.crown(head=1))
    scorer = load_scorer(hospital.engine, hospital.settings, job)
    with writing(hospital.engine) as c:
        chunk = scoring.claim(c, job.id, "w", hospital.settings.scoring.lease, hospital.now)
    assert chunk is not None
    scorer.score(chunk)


def test_no_statement_of_a_chunk_goes_through_a_whole_table(both: Hospital) -> None:
    both.receive(300)
    with statements(both.engine) as asked:
        score_a_chunk(both)
    # cutting counts everything, once a job
    of_a_chunk = asked[next(at for at, (sql, _) in enumerate(asked) if "leased_until" in sql) :]
    tables = {name for name in GROWING for sql, _ in of_a_chunk if f" {name} " in sql.replace("\n", " ")}
    assert {"report_version", "prediction", "feature"} <= tables
    with reading(both.engine) as c:
        found = {sql: lines for sql, values in of_a_chunk if (lines := whole_tables(c, sql, values))}
    assert found == {}


def plan_of(c: Connection, statement: str, values: Any) -> str:
    if c.dialect.name == "sqlite":
        return "\n".join(row[3] for row in c.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values))
    # a handful is sorted sooner than an index is read: what sorts now has no index to take
    for way in ("sort", "seqscan", "bitmapscan"):
        c.execute(text(f"SET LOCAL enable_{way} = off"))
    return "\n".join(row[0] for row in c.exec_driver_sql(f"EXPLAIN {statement}", values))


def test_the_next_chunk_is_found_and_not_sorted_for(both: Hospital) -> None:
    both.receive(300)
    job = both.cut(both.crown_row())
    with statements(both.engine) as asked, writing(both.engine) as c:
        assert scoring.claim(c, job.id, "w", both.settings.scoring.lease, both.now) is not None
    ((claim, values),) = [one for one in asked if "leased_until" in one[0]]
    with reading(both.engine) as c:
        plan = plan_of(c, claim, values)
        sorted_for = plan_of(c, "SELECT seq FROM score_chunk ORDER BY reports LIMIT 1", ())
    assert "ix_score_chunk_next" in plan
    assert not any(word in plan for word in ("Sort", "TEMP B-TREE"))
    assert any(word in sorted_for for word in ("Sort", "TEMP B-TREE")), "what sorts would not be noticed"


def test_scattered_vectors_are_looked_up_and_the_range_between_them_is_not_read(hospital: Hospital) -> None:
    hospital.receive(2)
    with statements(hospital.engine) as asked, reading(hospital.engine) as c:
        features.get(c, "e" * 64, [1, 1_000_000])
    ((sql, values),) = [one for one in asked if "FROM feature" in one[0]]
    with reading(hospital.engine) as c:
        assert "report_version_id=?" in plan_of(c, sql, values)
        between = "SELECT vector FROM feature WHERE encoder_sha = 'e' AND report_version_id BETWEEN 1 AND 9"
        assert "report_version_id>?" in plan_of(c, between, ()), "a range that is read would not be noticed"


def test_what_goes_through_a_whole_table_would_be_noticed(both: Hospital) -> None:
    both.receive(5)
    with reading(both.engine) as c:
        assert whole_tables(c, "SELECT id FROM report_version WHERE raw_sha = 'x'", ()) == ["report_version"]
        assert not whole_tables(c, "SELECT id FROM report_version WHERE id = 7", ())
