"""The suite itself: it is fast only while tests that share a server or a night share a process."""

from __future__ import annotations

import pytest


def test_run_side_by_side_a_file_stays_in_one_process(request: pytest.FixtureRequest) -> None:
    # were the groups dropped, nothing would fail: every night would be run once a process
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@tests/test_suite.py")
