"""`make ui` as a data team lives with it: a night, what follows an ingest, the pages, and the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.flows import town
from tests.flows.conftest import ROOT, Ui, make_ui

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def test_the_night_runs_as_a_deployment_on_the_hospital(night: list[str]) -> None:
    assert night == ["COMPLETED"]


def test_classify_follows_ingest_and_monitor_follows_classify(ui: Ui, night: list[str]) -> None:
    ui.start("hourly")
    for name in ("hourly", "after-ingest", "after-classify"):
        assert ui.finished(name, within_s=120) == ["COMPLETED"], name


@pytest.mark.parametrize("name", ["hourly", "nightly"])
def test_the_schedule_of_a_deployment_has_runs_to_come(ui: Ui, name: str) -> None:
    coming = ui.runs(name, "SCHEDULED", within_s=90)
    assert any(run["auto_scheduled"] for run in coming)


def test_the_servers_log_tells_its_errors(ui: Ui) -> None:
    with pytest.raises(urllib.error.HTTPError, match="409"):
        ui.ask("flow_runs/", flow_id=str(uuid4()))  # of no flow
    log = ui.folder / "laudos-data" / "prefect" / "server.log"
    assert "FOREIGN KEY constraint failed" in log.read_text()


@pytest.mark.browser
def test_the_pages_show_the_night_and_the_model(ui: Ui, night: list[str]) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium; run: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        for key, told, pictures in (
            ("tonight", ["What came in", "What was trained", "promoted", "What was scored", "What waits"], 1),
            ("model-1", ["malignidade"], 3),
            ("model-card-1-pt", ["malignidade"], 0),
        ):
            page.goto(f"{ui.address}/artifacts/artifact/{ui.latest(key)}", wait_until="networkidle")
            page.get_by_text(told[0]).first.wait_for(timeout=30_000)
            for words in told:
                assert page.get_by_text(words).count() > 0, f"{words} is not on {key}"
            drawn = page.evaluate("[...document.images].map(one => one.naturalWidth)")
            assert sum(width > 300 for width in drawn) >= pictures, f"pictures of {key}: {drawn}"
            overflow = "one => one.scrollWidth - one.parentElement.clientWidth"
            wider = page.evaluate(f"[...document.querySelectorAll('table')].map({overflow})")
            assert wider, f"no table on {key}"
            assert max(wider) <= 0, f"tables of {key} need scrolling sideways by so many pixels: {wider}"
            _shoot(page, ui.folder / f"{key}.png")
        page.goto(f"{ui.address}/deployments", wait_until="networkidle")
        page.get_by_text("after-classify").first.wait_for(timeout=30_000)
        _shoot(page, ui.folder / "deployments.png")
        browser.close()


def _shoot(page: Any, path: Path) -> None:
    """The whole page, however long: Prefect scrolls inside it."""
    height = page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(one => one.scrollHeight))")
    page.set_viewport_size({"width": 1400, "height": min(height + 40, 6000)})
    page.screenshot(path=path)
    page.set_viewport_size({"width": 1400, "height": 1000})
    assert path.stat().st_size > 20_000


def test_ctrl_c_ends_the_server_and_the_runner(ui: Ui) -> None:
    ui.process.send_signal(signal.SIGINT)
    assert ui.process.wait(60) == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{ui.address}/api/health", timeout=5)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="counts processes as Linux tells them")
def test_a_power_cut_costs_a_deployment_no_later_run_and_a_stop_leaves_no_process(tmp_path: Path) -> None:
    town.build(tmp_path, patients=20)
    with make_ui(tmp_path) as ui:
        ui.start("nightly")
        [dead] = ui.runs("nightly", "RUNNING", within_s=60)
        for pid in _processes(tmp_path):
            os.kill(pid, signal.SIGKILL)
        ui.process.wait(60)
    # and its slot has no lease any more, as after a server that kept it in memory
    shutil.rmtree(tmp_path / "laudos-data" / "prefect" / "concurrency_leases")
    # as a script's background job, which no SIGINT reaches
    with make_ui(tmp_path, before=partial(signal.signal, signal.SIGINT, signal.SIG_IGN)) as ui:
        assert [run["id"] for run in ui.runs("nightly", "CRASHED", within_s=60)] == [dead["id"]]
        ui.start("nightly")
        ui.runs("nightly", "RUNNING", within_s=60)
        ui.process.send_signal(signal.SIGTERM)
        assert ui.process.wait(60) == 0
    assert _processes(tmp_path) == []


def _processes(folder: Path) -> list[int]:
    """Those that were started with the laudos.toml in `folder`."""
    told = f"LAUDOS_CONFIG={folder / 'laudos.toml'}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # gone meanwhile, or another user's
            if told in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "deployments.ui", "--port", str(port)],
            env=os.environ | {"LAUDOS_CONFIG": str(town.build(tmp_path, patients=1))},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"port {port} cannot be used" in done.stderr
    assert "make ui PORT=" in done.stderr
