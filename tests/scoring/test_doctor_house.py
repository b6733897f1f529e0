"""Doctor looks around: at what killed runs left, the disk, the clocks, the pointer and Prefect's server."""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import prefect
import pytest
from sqlalchemy import make_url

from db import models, schema, scoring
from db.engine import reading
from tasks.database import open_database
from tasks.inspection.predict import load
from tasks.ml.errors import MlError
from tasks.model_folders import intact, pointer_path
from tasks.settings.settings import Settings
from tasks.torture.server import Server
from tasks.upkeep.doctor import doctor, examine
from tests.db.conftest import administrator
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital


def age(path: Path, hours: float) -> None:
    then = datetime.now(UTC).timestamp() - hours * 3600
    os.utime(path, (then, then))


def test_what_a_killed_run_left_is_named_at_once_and_wants_care_after_a_day(hospital: Hospital) -> None:
    root = hospital.folder_of(hospital.crown()).parent
    (root / "forgotten").mkdir()
    (root / ".partial-x").mkdir()
    (root / "somewhere").symlink_to(root / "forgotten")
    (finding,) = [
        one for one in examine(hospital.engine, hospital.settings) if one.name == "no_orphan_folders"
    ]
    assert finding.ok
    assert "achado/forgotten (no model has this folder, 0.0 h old)" in finding.found
    assert "achado/.partial-x (a publish was killed half-way, 0.0 h old)" in finding.found
    assert "somewhere" not in finding.found
    age(root / "forgotten", 25)
    (finding,) = doctor(hospital.settings)
    assert finding.found.startswith("achado/forgotten (no model has this folder, 25.0 h old); younger than")
    assert (finding.kind, "laudos models gc" in finding.advice) == ("house", True)


def test_a_pointer_that_names_another_model_is_found(hospital: Hospital) -> None:
    hospital.crown()
    pointer_path(hospital.settings, CLASSIFIER).write_text("{}")
    assert [one.name.split(" ")[0] for one in doctor(hospital.settings)] == ["pointer_names_champion"]


def test_a_disk_with_too_little_room_is_told(hospital: Hospital, configure: Callable[..., Settings]) -> None:
    greedy = configure(**TABLES, database=hospital.settings.database, monitoring={"free_space_gib": 1e9})
    assert [one.name for one in doctor(greedy)] == [
        "room_on_the_disk (models)",
        "room_on_the_disk (database)",
    ]


@pytest.mark.postgres
def test_a_database_that_takes_no_writing_is_found_by_the_doctor(
    postgres_server: Server, postgres_url: str, configure: Callable[..., Settings]
) -> None:
    settings = configure(database=postgres_url)
    schema.upgrade(postgres_url)
    assert doctor(settings) == []
    open_database(settings).dispose()  # for a session that knows of it
    with administrator(postgres_server, "postgres") as admin:
        name = str(make_url(postgres_url).database)
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    (found,) = doctor(settings)
    assert (found.name, found.kind) == ("database_takes_writing", "house")
    assert "default_transaction_read_only" in found.advice


def test_clocks_apart_are_told(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "lease_clock", lambda c: datetime.now(UTC) - timedelta(minutes=5))
    (finding,) = doctor(hospital.settings)
    assert finding.found == "the database's clock and this machine's are 300.0 s apart"


@pytest.fixture
def prefect_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """A server that answers whatever it is told to, named in PREFECT_API_URL."""
    answers: list[bytes] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[-1])

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://secret:canary@127.0.0.1:{server.server_port}/api")
        yield answers.append
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "fits"),
    [(prefect.__version__, True), ("3.0.0", False), ("4.0.0", False), ("<html>", False)],
)
def test_a_prefect_server_of_another_version_is_told(
    hospital: Hospital, prefect_server: Callable[[bytes], None], answer: str, fits: bool
) -> None:
    prefect_server(json.dumps(answer).encode())
    found = {one.name: one for one in examine(hospital.engine, hospital.settings)}["prefect_server_fits"]
    assert found.ok == fits
    assert "canary" not in found.found + found.advice


def test_a_prefect_server_that_does_not_answer_is_told(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    (finding,) = doctor(hospital.settings)
    assert finding.found == "the server in PREFECT_API_URL gave no version (ConnectError)"


@contextmanager
def without_privileges() -> Iterator[None]:
    """Within, root may read what its mode allows and no more, as everybody else."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    mine, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(mine, sets) == 0
    before, sets[0] = sets[0], sets[0] & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: in effect
    assert libc.capset(mine, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(mine, sets) == 0


@pytest.mark.parametrize("closed", ["model.safetensors", "MANIFEST.json", "laudos.json", "."])
def test_a_model_that_this_user_may_not_read_is_told_with_whose_it_is_and_is_not_marked(
    hospital: Hospital, closed: str
) -> None:
    champion, other = hospital.crown(), hospital.challenger(head=1)
    for number in (champion, other):
        (hospital.folder_of(number) / closed).chmod(0)
    told = rf"may not be read by this user, and is {hospital.settings.folder.owner()}'s.*chmod -R a\+rX"
    with without_privileges():
        findings = {one.name.split(" ")[0]: one for one in examine(hospital.engine, hospital.settings)}
        with pytest.raises(MlError, match=told):
            load(hospital.settings, None, CLASSIFIER)
        with reading(hospital.engine) as c:
            model = models.existing(c, champion)
        fault = intact(hospital.engine, hospital.settings, model, "test", hospital.now)
    assert fault is not None
    assert re.search(told, fault)
    assert re.search(told, findings["champion_as_published"].found)
    # of models that do not answer the manifest alone is read
    others = {"models_as_published"} if closed in ("MANIFEST.json", ".") else set()
    assert {name for name, one in findings.items() if not one.ok} == {"champion_as_published"} | others
    with reading(hospital.engine) as c:
        assert models.existing(c, champion).state == "ready"
    for number in (champion, other):
        (hospital.folder_of(number) / closed).chmod(0o755)
