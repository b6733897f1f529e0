"""`make ui` as a data team lives with it: a night, what follows an ingest, the pages, and the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows import town
from tests.flows.conftest import free_port, wait_until_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ui:
    """A running `make ui` on a tiny hospital of its own."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, **body: Any) -> Any:
        """POST to the server's API."""
        request = urllib.request.Request(
            f"{self.address}/api/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for _ in range(10):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # the server's own SQLite is busy; Prefect's client tries again too
                    raise
                time.sleep(1)
        raise AssertionError(f"{path} stays unavailable")

    def deployments(self) -> dict[str, str]:
        return {one["name"]: one["id"] for one in self.ask("deployments/filter", limit=50)}

    def latest(self, key: str) -> str:
        """The id of an artifact's latest version."""
        [artifact] = self.ask("artifacts/latest/filter", artifacts={"key": {"any_": [key]}})
        return str(artifact["latest_id"])

    def start(self, name: str, **parameters: Any) -> None:
        deployment = self.deployments()[name]
        self.ask(
            f"deployments/{deployment}/create_flow_run", parameters=parameters, state={"type": "SCHEDULED"}
        )

    def finished(self, name: str, *, within_s: float) -> list[str]:
        """The end states of a deployment's runs, waited for until there is one."""
        deployment, deadline = self.deployments()[name], time.monotonic() + within_s
        ends = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
        asked = {
            "deployments": {"id": {"any_": [deployment]}},
            "flow_runs": {"state": {"type": {"any_": ends}}},
        }
        while not (runs := self.ask("flow_runs/filter", **asked)):
            assert time.monotonic() < deadline, f"no run of {name} ended within {within_s} s"
            assert self.process.poll() is None, "make ui ended"
            time.sleep(0.5)
        return [run["state_type"] for run in runs]


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    folder, port = tmp_path_factory.mktemp("ui"), free_port()
    settings = town.build(folder, patients=40)
    without = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.ui", "--port", str(port)],
        env=without | {"LAUDOS_CONFIG": str(settings), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    try:
        running = Ui(process, port, folder)
        wait_until_up(f"{running.address}/api/health", within_s=150)
        deadline = time.monotonic() + 90
        while len(running.deployments()) < 5 and time.monotonic() < deadline:
            time.sleep(0.5)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def test_the_night_runs_as_a_deployment_on_the_hospital(ui: Ui) -> None:
    ui.start("nightly")
    assert ui.finished("nightly", within_s=240) == ["COMPLETED"]


def test_classify_follows_ingest_and_monitor_follows_classify(ui: Ui) -> None:
    ui.start("hourly")
    for name in ("hourly", "after-ingest", "after-classify"):
        assert ui.finished(name, within_s=120) == ["COMPLETED"], name


@pytest.mark.browser
def test_the_pages_show_the_night_and_the_model(ui: Ui) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium; run: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        for key, told, pictures in (
            ("tonight", ["What came in", "What was trained", "promoted", "What was scored", "What waits"], 1),
            ("model-1", ["malignidade"], 3),
        ):
            page.goto(f"{ui.address}/artifacts/artifact/{ui.latest(key)}", wait_until="networkidle")
            page.get_by_text(told[0]).first.wait_for(timeout=30_000)
            for words in told:
                assert page.get_by_text(words).count() > 0, f"{words} is not on {key}"
            drawn = page.evaluate("[...document.images].map(one => one.naturalWidth)")
            assert sum(width > 300 for width in drawn) >= pictures, f"pictures of {key}: {drawn}"
            _shoot(page, ui.folder / f"{key}.png")
        page.goto(f"{ui.address}/deployments", wait_until="networkidle")
        page.get_by_text("after-classify").first.wait_for(timeout=30_000)
        _shoot(page, ui.folder / "deployments.png")
        browser.close()


def _shoot(page: Any, path: Path) -> None:
    """The whole page, however long: Prefect scrolls inside it."""
    height = page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(one => one.scrollHeight))")
    page.set_viewport_size({"width": 1280, "height": min(height + 40, 6000)})
    page.screenshot(path=path)
    page.set_viewport_size({"width": 1280, "height": 1000})
    assert path.stat().st_size > 20_000


def test_ctrl_c_ends_the_server_and_the_runner(ui: Ui) -> None:
    ui.process.send_signal(signal.SIGINT)
    assert ui.process.wait(60) == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{ui.address}/api/health", timeout=5)


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
