"""A network that fails on demand: forwards a loopback port to a server's socket, and cuts.

It knows one thing of PostgreSQL's protocol, what a message that says COMMIT looks like, so that it can
cut just before the server hears of it, or just after, when the client cannot know which it was.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

Cut = Literal["before_commit", "after_commit"]
COMMIT, ROLLBACK = b"COMMIT\x00", b"ROLLBACK\x00"
PIECE = 1 << 16
# closed with a linger of zero seconds, a connection ends in RST and not in FIN
RESET = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class _Pair:
    """One client's connection and ours to the server, in its place. Each direction has a thread."""

    client: socket.socket
    server: socket.socket
    mute: bool = False  # nothing is forwarded any more, and the server is never told
    deaf: bool = False  # the server's next answer is kept from the client, and the connection cut
    marked: bool = False  # what the client said bears the mark of the transaction that is to be cut
    _ended: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cut(self) -> None:
        """Both ends find the connection reset."""
        with suppress(OSError):  # closed by its own end a moment ago
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._wake()

    def end(self) -> None:
        """One direction is over: the other is woken, and the last closes."""
        self._wake()
        with self._lock:
            self._ended += 1
            last = self._ended == 2
        if last:
            self.client.close()
            if not self.mute:
                self.server.close()

    def _wake(self) -> None:
        # reading only: a shutdown of both directions would say a polite FIN first
        for one in (self.client, self.server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RD)


class Proxy:
    """A loopback port in front of a server's Unix socket; use as a context manager."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._at_commit: Cut | None = None
        self._mark = b""
        self._silenced: list[_Pair] = []  # kept, so that the server goes on believing in them
        self.cuts = 0

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for pair in self._silenced:
            pair.server.close()

    def cut(self) -> None:
        """Reset every connection there is, now. New ones are let through."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
            self.cuts += len(pairs)
        for pair in pairs:
            pair.cut()

    def silence(self) -> None:
        """Forward nothing more on the connections there are: a cable that was pulled out.

        The clients may be told later, by `cut`, as their own timeouts would; the server never is.
        """
        with self._lock:
            for pair in self._pairs:
                pair.mute = True
            self._silenced += self._pairs

    def cut_at_commit(self, when: Cut, mark: bytes = b"") -> None:
        """Reset the connection that says the next COMMIT, before or after the server heard it.

        `mark`: of a transaction only in which these bytes were said before.
        """
        with self._lock:
            self._at_commit, self._mark = when, mark

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._server))
            except OSError:  # the server is down: as if nothing listened here
                client.close()
                server.close()
                continue
            pair = _Pair(client, server)
            with self._lock:
                self._pairs.append(pair)
            for direction in (self._up, self._down):
                threading.Thread(target=direction, args=(pair,), daemon=True).start()

    def _up(self, pair: _Pair) -> None:
        """From the client to the server, watching for COMMIT."""
        with suppress(OSError):
            while said := pair.client.recv(PIECE):
                pair.marked = (pair.marked or self._mark in said) and ROLLBACK not in said
                if COMMIT in said and self._is_due(pair):
                    break
                if not pair.mute:
                    pair.server.sendall(said)
        self._end(pair)

    def _down(self, pair: _Pair) -> None:
        with suppress(OSError):
            while said := pair.server.recv(PIECE):
                if pair.deaf:
                    self._cut_one(pair)
                    break
                if not pair.mute:
                    pair.client.sendall(said)
        self._end(pair)

    def _is_due(self, pair: _Pair) -> bool:
        """Whether to cut before this COMMIT; where it is to be after it, the answer will be."""
        with self._lock:
            marked, pair.marked = pair.marked, False
            if not marked:
                return False
            when, self._at_commit = self._at_commit, None
        if when == "before_commit":
            self._cut_one(pair)
        pair.deaf = when == "after_commit"
        return when == "before_commit"

    def _cut_one(self, pair: _Pair) -> None:
        with self._lock:
            self.cuts += 1
        pair.cut()

    def _end(self, pair: _Pair) -> None:
        with self._lock, suppress(ValueError):
            self._pairs.remove(pair)
        pair.end()
