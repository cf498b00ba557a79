"""A process that plays thousands of endpoints: the first part of a request's path says which, and may be told anew.

`python -m tests.support.players` prints its port; `Players` runs it and asks it. How an endpoint answers:
`ok`, `hang` (never), `drip` (a byte of the head now and then), `close` (no answer), `slow:20` (after 20 ms, all at
once), `serial:20` (one after the other, 20 ms each), `told:5` (429 with Retry-After: 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any, Self

import httpx

HOSTS = ("127.0.0.1", *(f"127.0.1.{number}" for number in range(1, 101)))
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Play:
    """What one path has seen."""

    def __init__(self) -> None:
        self.requests = 0
        self.at_once = 0
        self.most_at_once = 0
        self.early = 0  # requests within the time that a Retry-After had named, those on their way left out
        self.told_ms = 0.0
        self.closed_until_ms = 0.0
        self.free_at = 0.0
        self.events: Counter[str] = Counter()

    def shown(self) -> dict[str, int]:
        """Return it as numbers."""
        return {
            "requests": self.requests,
            "most_at_once": self.most_at_once,
            "early": self.early,
            "answered_twice": sum(count - 1 for count in self.events.values()),
            "answered": len(self.events),
        }


class Stage:
    """All paths, and how each of them answers."""

    def __init__(self) -> None:
        self.how: dict[str, str] = {}
        self.plays: dict[str, Play] = {}

    def play_of(self, path: str) -> Play:
        """Return what a path has seen."""
        return self.plays.setdefault(path, Play())

    def control(self, told: dict[str, Any]) -> bytes:
        """Do what the test asks for, and return what it wants to know."""
        self.how.update(told.get("how", {}))
        wanted = told.get("show")
        found = {p: play.shown() for p, play in self.plays.items() if wanted and p.startswith(wanted)}
        return json.dumps(found).encode()


class Connection(asyncio.Protocol):
    """One connection of a client; requests on it come one after the other."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rest = b""
        self._open: Play | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        """The client has given up, or is done."""
        self._ends()

    def data_received(self, data: bytes) -> None:
        """Take requests as they become complete."""
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end]
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(self._rest) < end + 4 + length:
                return
            body, self._rest = self._rest[end + 4 : end + 4 + length], self._rest[end + 4 + length :]
            self._take(head.split(b" ", 2)[1].decode(), body)

    def _take(self, path: str, body: bytes) -> None:
        if path == "/_control":
            answer = self._stage.control(json.loads(body))
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            return
        play = self._open = self._stage.play_of(path)
        play.requests += 1
        play.at_once += 1
        play.most_at_once = max(play.most_at_once, play.at_once)
        now_ms = time.monotonic() * 1_000
        # What had been sent when the first 429 went out arrives within a moment.
        play.early += play.told_ms + 500 < now_ms < play.closed_until_ms
        how, _, detail = self._stage.how.get(path.split("/")[1], "ok").partition(":")
        getattr(self, f"_{how}")(play, body, float(detail or 0))

    def _ok(self, play: Play, body: bytes, _detail: float) -> None:
        play.events[str(json.loads(body)["event_id"])] += 1
        self._ends()
        self._transport.write(_OK)

    def _slow(self, play: Play, body: bytes, after_ms: float) -> None:
        asyncio.get_running_loop().call_later(after_ms / 1_000, self._ok, play, body, 0)

    def _serial(self, play: Play, body: bytes, each_ms: float) -> None:
        loop = asyncio.get_running_loop()
        play.free_at = max(play.free_at, loop.time()) + each_ms / 1_000
        loop.call_at(play.free_at, self._ok, play, body, 0)

    def _told(self, play: Play, _body: bytes, wait_s: float) -> None:
        now_ms = time.monotonic() * 1_000
        if now_ms >= play.closed_until_ms:
            play.told_ms = now_ms
        play.closed_until_ms = now_ms + wait_s * 1_000
        self._ends()
        self._transport.write(
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n" % int(wait_s)
        )

    def _close(self, _play: Play, _body: bytes, _detail: float) -> None:
        self._transport.close()

    def _hang(self, _play: Play, _body: bytes, _detail: float) -> None:
        """Say nothing."""

    def _drip(self, play: Play, body: bytes, _detail: float) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"H" if play.at_once % 2 else b"X")
            asyncio.get_running_loop().call_later(0.5, self._drip, play, body, 0)

    def _ends(self) -> None:
        if self._open is not None:
            self._open.at_once -= 1
            self._open = None


class Players:
    """The process, and questions to it; a context manager."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.players"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port, hosts = self._process.stdout.readline().split()
        self.port = int(port)
        self._hosts = HOSTS[: int(hosts)]
        self.url = f"http://127.0.0.1:{self.port}/"
        return self

    def url_of(self, number: int) -> str:
        """Return the root URL of one of many hosts, none of which is that of `url` where the system has others."""
        host = self._hosts[1 + number % (len(self._hosts) - 1)] if len(self._hosts) > 1 else self._hosts[0]
        return f"http://{host}:{self.port}/"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, name: str, how: str) -> None:
        """Have all endpoints whose path begins with this part answer so from now on."""
        self._ask({"how": {name: how}})

    def seen(self, name: str) -> dict[str, dict[str, int]]:
        """Return what the endpoints of this part have seen, by path."""
        return self._ask({"show": f"/{name}/"})

    def _ask(self, told: dict[str, Any]) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = httpx.post(f"{self.url}_control", json=told, timeout=30).json()
        return found


async def _serve() -> None:
    stage, loop = Stage(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stage), "127.0.0.1", 0, backlog=4_096)
    port = server.sockets[0].getsockname()[1]
    servers = [server]
    for host in HOSTS[1:]:
        with contextlib.suppress(OSError):  # an address that not every system has
            servers += [await loop.create_server(lambda: Connection(stage), host, port, backlog=4_096)]
    print(port, len(servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # ends with the process that started this one


if __name__ == "__main__":
    asyncio.run(_serve())
