"""A hub on 127.0.0.1: answers what huggingface_hub asks of the real one, and goes wrong where told to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

LARGE = 1000  # bytes from which a file counts as one of git LFS, with a sha256


@dataclass
class StandInHub:
    """`publish` a folder; then `cut`, `altered` and `commit_told` say what shall go wrong."""

    endpoint: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, file, range
    cut: dict[str, list[int]] = field(default_factory=dict)  # file -> bytes until the line breaks
    altered: dict[str, bytes] = field(default_factory=dict)  # file -> what comes instead
    commit_told: str | None = None

    def publish(self, name: str, files: Mapping[str, bytes] | Path) -> str:
        """The commit that holds these files."""
        if isinstance(files, Path):
            files = {path.name: path.read_bytes() for path in files.iterdir()}
        content = b"".join(file.encode() + files[file] for file in sorted(files))
        commit = hashlib.sha1(content).hexdigest()
        self.repositories.setdefault(name, {})[commit] = dict(files)
        return commit

    def asked_for(self, file: str) -> list[str | None]:
        """The ranges in which a file's content was asked for; None: from its beginning."""
        return [bytes_from for method, name, bytes_from in self.requests if (method, name) == ("GET", file)]


@contextmanager
def stand_in_hub() -> Iterator[StandInHub]:
    hub = StandInHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(hub, self)

        def do_HEAD(self) -> None:
            _answer(hub, self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(hub: StandInHub, request: BaseHTTPRequestHandler) -> None:
    path = urlsplit(request.path).path
    if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", path):
        name, commit = found.groups()
        if files := _files(hub, request, name, commit):
            _send(request, json.dumps(_described(hub, name, commit, files)).encode(), {})
    elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
        name, commit, file = found.groups()
        hub.requests.append((request.command, file, request.headers.get("Range")))
        if files := _files(hub, request, name, commit):
            _send_file(hub, request, commit, file, files[file])
    else:
        _refuse(request, "EntryNotFound")


def _files(
    hub: StandInHub, request: BaseHTTPRequestHandler, name: str, commit: str
) -> dict[str, bytes] | None:
    if name not in hub.repositories:
        return _refuse(request, "RepoNotFound")
    if commit not in hub.repositories[name]:
        return _refuse(request, "RevisionNotFound")
    return hub.repositories[name][commit]


def _described(hub: StandInHub, name: str, commit: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    siblings = []
    for file, content in files.items():
        one: dict[str, Any] = {"rfilename": file, "size": len(content), "blobId": _blob(content)}
        if len(content) >= LARGE:
            one["lfs"] = {"size": len(content), "sha256": _sha(content), "pointerSize": 130}
        siblings.append(one)
    return {"_id": "0", "id": name, "sha": hub.commit_told or commit, "siblings": siblings, "tags": []}


def _send_file(
    hub: StandInHub, request: BaseHTTPRequestHandler, commit: str, file: str, content: bytes
) -> None:
    large = len(content) >= LARGE
    headers = {"X-Repo-Commit": commit, "ETag": f'"{_sha(content) if large else _blob(content)}"'}
    sent = hub.altered.get(file, content)
    start = 0
    if (asked := request.headers.get("Range")) and request.command == "GET":
        start = int(asked.removeprefix("bytes=").split("-")[0])
        headers["Content-Range"] = f"bytes {start}-{len(sent) - 1}/{len(sent)}"
    most = hub.cut[file].pop(0) if request.command == "GET" and hub.cut.get(file) else None
    _send(request, sent[start:], headers, 206 if start else 200, most)


def _send(
    request: BaseHTTPRequestHandler,
    content: bytes,
    headers: Mapping[str, str],
    status: int = 200,
    most: int | None = None,
) -> None:
    """most: bytes after which the line breaks, though more were promised."""
    request.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(content[:most])
    if most is not None:
        request.close_connection = True


def _refuse(request: BaseHTTPRequestHandler, code: str) -> None:
    _send(request, b"{}", {"X-Error-Code": code}, 404)


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
