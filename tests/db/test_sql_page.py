"""docs/sql.md is true: its list of views is the code's."""

from __future__ import annotations

from pathlib import Path

from db.describe import describe_views

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")


def test_the_list_of_views_is_what_the_views_say() -> None:
    begin = "<!-- views: begin (python -m db.describe views) -->\n"
    listed = PAGE.split(begin)[1].split("<!-- views: end -->")[0]
    assert listed.strip() == describe_views().strip(), "run: python -m db.describe views"
