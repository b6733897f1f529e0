"""What leaves a step or a flow: nothing that could quote a report."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import prefect
import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import TaskRunContext
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from db.errors import Busy, ConfigurationError, DatabaseFailure, LaudosError, ServerAway, StepFailed
from tasks.ml.errors import UnfitData
from tasks.night.nightly import Attempts
from tasks.settings.settings import Settings
from tasks.step import Name, flow, sealed, step

TEN_AT_NIGHT = datetime(2027, 1, 11, 1, tzinfo=UTC)
SECRET = "Paciente Fulana de Tal: carcinoma ductal"


def _raising(error: BaseException) -> Any:
    @sealed("reading")
    def body() -> None:
        try:
            raise KeyError(SECRET)
        except KeyError:
            raise error from ValueError(SECRET)

    return body


@pytest.mark.parametrize(
    ("inside", "outside", "told"),
    [
        (ValueError(SECRET), StepFailed, "ValueError in reading"),
        (SystemExit(SECRET), StepFailed, "SystemExit in reading"),
        (UnfitData("label maligno has no example"), LaudosError, "label maligno has no example"),
        (Busy("run 3 holds it"), Busy, "run 3 holds it"),
    ],
)
def test_an_exception_leaves_without_text_cause_or_context(
    inside: BaseException, outside: type[LaudosError], told: str
) -> None:
    with pytest.raises(outside) as caught:
        _raising(inside)()
    assert str(caught.value).startswith(told)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_error_keeps_its_kind_and_what_it_knows_on_the_way_out() -> None:
    with pytest.raises(DatabaseFailure) as caught:
        _raising(DatabaseFailure("SQLITE_BUSY", retryable=True))()
    assert caught.value.retryable


def test_ctrl_c_passes_without_what_it_interrupted() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        _raising(KeyboardInterrupt())()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_body_that_would_run_outside_the_seal_is_refused() -> None:
    with pytest.raises(TypeError, match="plain function"):

        @sealed("later")
        async def body() -> None: ...


tries: list[int] = []


@step("fetch", run_name="fetch {number}", retries=2, retry_delay_s=0)
def fetch(number: int) -> int:
    tries.append(number)
    if number == 2 and tries.count(2) < 3:
        raise DatabaseFailure("SQLITE_BUSY", retryable=True)
    if number == 3:
        raise ValueError(SECRET)
    return number


@flow("fetching", run_name="fetching {source} {day}")
def fetching(source: Name | None = None, number: int = 1) -> int:
    return fetch(number)


@flow("around", run_name="around {day}")
def around() -> int:
    return fetching(source="within")


@pytest.fixture
def runs(prefect_harness: None) -> Iterator[Any]:
    tries.clear()
    with get_client(sync_client=True) as client:

        def read() -> list[FlowRun]:
            return [run for run in client.read_flow_runs() if run.name.startswith("fetching")]

        yield read


def test_a_database_that_was_busy_is_tried_again(runs: Any) -> None:
    assert fetching(number=2) == 2
    assert tries == [2, 2, 2]


def test_what_a_repetition_cannot_help_is_not_repeated(runs: Any) -> None:
    with pytest.raises(StepFailed):
        fetching(number=3)
    assert tries == [3]


@pytest.mark.parametrize(
    ("given", "named"),
    [({"source": SECRET}, "source"), ({"number": SECRET}, "number"), ({"source": 7}, "source")],
)
def test_unfit_parameters_are_refused_before_prefect_has_seen_them(
    runs: Any, given: dict[str, Any], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(runs())
    with pytest.raises(ConfigurationError, match=f"fetching: {named} cannot be taken") as caught:
        fetching(**given)
    assert len(runs()) == before
    assert not tries
    assert SECRET not in str(caught.value) + caplog.text


def test_a_parameter_a_flow_does_not_have_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError) as caught:
        fetching.validate_parameters({SECRET: 1})
    assert SECRET not in str(caught.value)


def test_a_run_is_named_by_what_it_does_and_its_day(runs: Any) -> None:
    fetching(source="his")
    fetching()
    names = {run.name.rsplit(" ", 1)[0] for run in runs()}
    assert {"fetching his", "fetching all"} <= names


def test_the_day_in_a_runs_name_is_the_hospitals(
    runs: Any, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """22:00 in São Paulo, on a server whose own zone is ahead of it."""
    monkeypatch.setattr("tasks.step.flow_run.get_scheduled_start_time", lambda: TEN_AT_NIGHT)
    configure(timezone="America/Sao_Paulo")
    fetching(source="his")
    (tmp_path / "laudos.toml").write_text("no TOML")  # which the body of a flow tells, not its name
    fetching(source="lab")
    names = {run.name for run in runs()}
    assert "fetching his 2027-01-10" in names
    assert any(name.startswith("fetching lab 2027-01-1") for name in names)


def test_a_run_bears_the_tags_of_every_flow_it_runs_within(runs: Any) -> None:
    around()
    assert {"laudos", "around", "fetching"} in [set(run.tags) for run in runs()]


@step("look at its tags")
def tags_within() -> int:
    context = TaskRunContext.get()
    assert context is not None
    return len(context.task_run.tags)


@flow("untagged", run_name="untagged {day}")
def untagged() -> tuple[int, list[str]]:
    return tags_within(), flow_run.tags


def test_a_step_waits_for_no_slot_of_its_flows_tags(runs: Any) -> None:
    of_the_step, of_the_flow = untagged()
    assert (of_the_step, set(of_the_flow)) == (0, {"laudos", "untagged"})


NOWHERE = "http://127.0.0.1:1/api"  # nothing listens on this port


def test_a_prefect_server_that_is_away_is_named_and_stops_no_other_part() -> None:
    night = Attempts(patience_s=0)
    with temporary_settings({PREFECT_API_URL: NOWHERE}):
        assert night("ingest his", fetching) == []
    assert night("tidy up", lambda: 7) == [7]
    assert night.skipped == []
    (told,) = night.failed
    assert told.startswith("ingest his: Prefect's server does not answer (ConnectError); start the one")


def _away_for(times: int, tries: list[int]) -> int:
    """A part that finds Prefect's server away so many times."""
    tries.append(times)
    with temporary_settings({PREFECT_API_URL: NOWHERE} if len(tries) <= times else {}):
        return fetching()


def test_a_prefect_server_that_is_back_soon_costs_the_night_no_part(runs: Any) -> None:
    night, tries = Attempts(patience_s=60, pause_s=0), []
    assert night("ingest his", _away_for, 2, tries) == [1]
    assert (night.failed, len(tries)) == ([], 3)


def test_a_prefect_server_that_stays_away_is_waited_for_once_and_not_by_each_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    tries: list[str] = []

    def away(part: str) -> None:
        tries.append(part)
        raise ServerAway("Prefect's server does not answer")

    monkeypatch.setattr("tasks.night.nightly.time", Clock())
    night = Attempts(patience_s=60, pause_s=20)
    assert night.each("ingest", away, ["his", "lab"]) == []
    assert tries == ["his"] * 4 + ["lab"]
    assert night("tidy up", lambda: 7) == [7]
    assert night("monitor", away, "again") == []
    assert tries[5:] == ["again"] * 4
    assert [one.split(":")[0] for one in night.failed] == ["ingest his", "ingest lab", "monitor"]


@pytest.mark.parametrize("runs_through", ["prefect.flow_engine.run_flow", "prefect.task_engine.run_task"])
def test_a_prefect_server_that_vanishes_is_named_without_its_address(
    runs: Any, monkeypatch: pytest.MonkeyPatch, runs_through: str
) -> None:
    def vanished(**_: object) -> None:
        raise httpx.ReadError("http://user:secret@prefect.local")

    monkeypatch.setattr(runs_through, vanished)
    with pytest.raises(ServerAway, match=r"server does not answer \(ReadError\)") as caught:
        fetching()
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "PREFECT_API_AUTH_STRING"), (500, "its log says why")], ids=str
)
def test_a_prefect_server_that_refuses_is_named_and_stops_no_other_part(status: int, advice: str) -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path.endswith(("/health", "/version")) else status)
            body = f'"{prefect.__version__}"'.encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    night = Attempts(patience_s=0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
            assert night("ingest his", fetching) == []
        server.shutdown()
    assert night("tidy up", lambda: 7) == [7]
    (told,) = night.failed
    assert told.startswith(f"ingest his: Prefect's server answers with an error ({status}); ")
    assert advice in told
