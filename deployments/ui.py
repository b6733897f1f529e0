"""Prefect's server and every deployment, together: python -m deployments.ui [--port 4200].

The server keeps its history in <folder>/prefect; server.log there holds its errors. Ctrl-C ends both.
Nobody else runs its deployments: runs that it holds for under way at the start are dead, and crashed.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tasks.errors import ConfigurationError, LaudosError
from tasks.settings.settings import CONSOLE_LEVEL, Settings, console_level, prepare_environment

STARTS_WITHIN_S = 180
STOPS_WITHIN_S = 20


def main() -> None:
    """Start the server, wait until it answers, serve, and print the address."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 shows it to the whole network, unprotected"
    )
    asked.add_argument("--port", type=int, default=4200)
    given = asked.parse_args()
    settings = Settings.load()
    home = Path(settings.folder).absolute() / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    _require_free(given.host, given.port)
    address = f"http://{'127.0.0.1' if given.host == '0.0.0.0' else given.host}:{given.port}"
    os.environ |= {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{address}/api",
        # with another port than 4200 the pages would look for their API at the old one
        "PREFECT_SERVER_API_PORT": str(given.port),
        "PREFECT_SERVER_UI_API_URL": f"{address}/api",
    }
    # nobody else tells a server's errors; they quote what Prefect keeps, which is never report text
    server_tells = {CONSOLE_LEVEL: console_level() or "ERROR"}
    prepare_environment(settings)
    # Ctrl-C and a supervisor's stop take the same way out
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    serving = ("prefect", "server", "start", "--host", given.host, "--port", str(given.port))
    with (
        (home / "server.log").open("ab") as log,
        _running(*serving, log=log.fileno(), environment=server_tells) as server,
    ):
        _wait_until_healthy(server, address, home)
        with _running("deployments.serve", "--alone") as runner:
            print(f"\nlaudos in the Prefect UI: {address}   (Ctrl-C ends it)\n", flush=True)
            while server.poll() is None and runner.poll() is None:
                time.sleep(0.5)
    raise LaudosError(
        f"{'the server' if server.returncode else 'the runner'} ended; see {home / 'server.log'}"
    )


@contextmanager
def _running(
    module: str, *arguments: str, log: int | None = None, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python module as a process; ended with the block, gently first."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=log,
        stderr=log,
        env=os.environ | (environment or {}),
        # a session of its own: Ctrl-C reaches us alone, and we end the two in order
        start_new_session=True,
        # a script's background job ignores SIGINT, and so would what it starts: we could not end it gently
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as refused:
            raise ConfigurationError(
                f"port {port} cannot be used ({refused.strerror}); choose another: make ui PORT={port + 1}"
            ) from None


def _wait_until_healthy(server: subprocess.Popen[bytes], address: str, home: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/api/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise LaudosError(f"the Prefect server did not start; see {home / 'server.log'}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
    except LaudosError as error:
        sys.exit(f"laudos: {error}")
