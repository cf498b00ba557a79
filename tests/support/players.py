"""A process that plays thousands of endpoints: the first part of a request's path says which, and may be told anew.

`python -m tests.support.players` prints its port; `Players` runs it and asks it. How an endpoint answers:
`ok`, `hang` (never), `drip` (a byte of the head every half second), `close` (no answer), `slow:20` (after 20 ms, all at
once), `serial:20` (one after the other, 20 ms each), `told:60/120` (429 with Retry-After: 60 for 120 s from its first
request on, then as `slow:20`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from typing import Any, Final, Self

import httpx

from tests.support.doors import Doors

_HOSTS: Final = 100
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_TOLD: Final = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n"
_NUMBER: Final = b'"event_id":"evt_'


class Play:
    """What one path has seen."""

    def __init__(self) -> None:
        self.requests = 0
        self.at_once = 0
        self.most_at_once = 0
        self.answered_twice = 0
        self.first_ms = 0.0
        self.free_at = 0.0
        self.events: set[int] = set()

    def shown(self) -> dict[str, int]:
        """Return it as numbers."""
        return {
            "requests": self.requests,
            "most_at_once": self.most_at_once,
            "answered_twice": self.answered_twice,
            "answered": len(self.events),
        }


class Stage:
    """All paths, and how each of them answers."""

    def __init__(self) -> None:
        self.how: dict[str, str] = {}
        self.plays: dict[str, Play] = {}
        self.held: dict[str, set[Connection]] = {}  # who waits for an answer that never comes, by the first part
        self.doors = Doors(lambda: Connection(self))

    def play_of(self, path: str) -> Play:
        """Return what a path has seen."""
        play = self.plays.get(path)
        if play is None:
            play = self.plays[path] = Play()
        return play

    async def control(self, told: dict[str, Any]) -> bytes:
        """Do what the test asks for, and return what it wants to know."""
        for name, how in told.get("how", {}).items():
            self.how[name] = how
            for connection in self.held.pop(name, set()):
                connection.close()
        if "door" in told:
            return json.dumps(await self.doors.turn(told["door"], told["how_it_is"])).encode()
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

    def close(self) -> None:
        """End it."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take requests as they become complete."""
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end]
            length = _length_in(head)
            if len(self._rest) < end + 4 + length:
                return
            body, self._rest = self._rest[end + 4 : end + 4 + length], self._rest[end + 4 + length :]
            self._take(head.split(b" ", 2)[1].decode(), body)

    def _take(self, path: str, body: bytes) -> None:
        if path == "/_control":
            task = asyncio.ensure_future(self._stage.control(json.loads(body)))
            task.add_done_callback(lambda done: self._says(done.result()))
            return
        play = self._open = self._stage.play_of(path)
        play.requests += 1
        play.at_once += 1
        play.most_at_once = max(play.most_at_once, play.at_once)
        how, _, detail = self._stage.how.get(path.split("/", 2)[1], "ok").partition(":")
        if how == "ok":
            self._ok(play, body)
        else:
            getattr(self, f"_{how}")(play, body, path, detail)

    def _says(self, answer: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

    def _ok(self, play: Play, body: bytes) -> None:
        at = body.index(_NUMBER) + len(_NUMBER)
        number = int(body[at : body.index(b'"', at)])
        play.answered_twice += number in play.events
        play.events.add(number)
        self._ends()
        self._transport.write(_OK)

    def _slow(self, play: Play, body: bytes, _path: str, after_ms: str) -> None:
        asyncio.get_running_loop().call_later(float(after_ms) / 1_000, self._ok, play, body)

    def _serial(self, play: Play, body: bytes, _path: str, each_ms: str) -> None:
        loop = asyncio.get_running_loop()
        play.free_at = max(play.free_at, loop.time()) + float(each_ms) / 1_000
        loop.call_at(play.free_at, self._ok, play, body)

    def _told(self, play: Play, body: bytes, path: str, detail: str) -> None:
        wait_s, _, for_s = detail.partition("/")
        now_ms = time.monotonic() * 1_000
        play.first_ms = play.first_ms or now_ms
        if now_ms >= play.first_ms + float(for_s) * 1_000:
            self._slow(play, body, path, "20")
            return
        self._ends()
        self._transport.write(_TOLD % int(wait_s))

    def _close(self, _play: Play, _body: bytes, _path: str, _detail: str) -> None:
        self._transport.close()

    def _hang(self, _play: Play, _body: bytes, path: str, _detail: str) -> None:
        self._stage.held.setdefault(path.split("/", 2)[1], set()).add(self)

    def _drip(self, play: Play, body: bytes, path: str, detail: str) -> None:
        self._hang(play, body, path, detail)
        self._transport.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        self._drops()

    def _drops(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"x")
            asyncio.get_running_loop().call_later(0.5, self._drops)

    def _ends(self) -> None:
        if self._open is not None:
            self._open.at_once -= 1
            self._open = None


def _length_in(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


class Players:
    """The process, and questions to it; a context manager. `net`: its hosts are 127.0.<net>.1 and on."""

    def __init__(self, net: int = 1) -> None:
        self._net = net

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.players", str(self._net)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port, hosts = self._process.stdout.readline().split()
        self.port = int(port)
        self._hosts = hosts_of(self._net)[: int(hosts)]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._client = httpx.Client(timeout=30)
        return self

    def url_of(self, number: int) -> str:
        """Return the root URL of one of many hosts, none of which is that of `url` where the system has others."""
        host = self._hosts[1 + number % (len(self._hosts) - 1)] if len(self._hosts) > 1 else self._hosts[0]
        return f"http://{host}:{self.port}/"

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.kill()
        self._process.communicate()

    def tell(self, name: str, how: str) -> None:
        """Have all endpoints whose path begins with this part answer so from now on; who hangs there is cut off."""
        self._ask({"how": {name: how}})

    def door(self, name: str, how: str = "refuses") -> int:
        """Return the port of a host of its own that `refuses` connections, then `drops` them, then is `open`."""
        return int(self._ask({"door": name, "how_it_is": how}))

    def seen(self, name: str) -> dict[str, dict[str, int]]:
        """Return what the endpoints of this part have seen, by path."""
        found: dict[str, dict[str, int]] = self._ask({"show": f"/{name}/"})
        return found

    def _ask(self, told: dict[str, Any]) -> Any:
        return self._client.post(f"{self.url}_control", json=told).json()


def hosts_of(net: int) -> tuple[str, ...]:
    """Return the addresses that a process of players listens on, where the system has them."""
    return ("127.0.0.1", *(f"127.0.{net}.{number}" for number in range(1, _HOSTS + 1)))


async def _serve(net: int) -> None:
    stage, loop = Stage(), asyncio.get_running_loop()
    first, *others = hosts_of(net)
    server = await loop.create_server(lambda: Connection(stage), first, 0, backlog=4_096)
    port = server.sockets[0].getsockname()[1]
    servers = [server]
    for host in others:
        with contextlib.suppress(OSError):  # an address that not every system has
            servers += [await loop.create_server(lambda: Connection(stage), host, port, backlog=4_096)]
    print(port, len(servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # ends with the process that started this one


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
