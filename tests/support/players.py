"""A process that plays thousands of endpoints; the first segment of a request's path is their name.

`python -m tests.support.players` prints its port. `Players` runs it and controls it. An endpoint has one of these
behaviours, which tests may change at any time:

- `ok`: responds with 200.
- `hang`: never responds.
- `drip`: sends a byte of the response headers every half second.
- `close`: closes the connection without a response.
- `slow:20`: responds after 20 ms, to all requests concurrently.
- `serial:20`: responds to one request after the other, 20 ms each.
- `throttle:60/120`: responds with 429 and `Retry-After: 60` for 120 s from its first request, then as `slow:20`.
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

from tests.support.ports import Ports

_HOSTS: Final = 100
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_THROTTLED: Final = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n"
_NUMBER: Final = b'"event_id":"evt_'


class Play:
    """What one path has received."""

    def __init__(self) -> None:
        self.requests = 0
        self.at_once = 0
        self.most_at_once = 0
        self.answered_twice = 0
        self.first_ms = 0.0
        self.free_at = 0.0
        self.events: set[int] = set()

    def shown(self) -> dict[str, int]:
        """Return the counters."""
        return {
            "requests": self.requests,
            "most_at_once": self.most_at_once,
            "answered_twice": self.answered_twice,
            "answered": len(self.events),
        }


class Stage:
    """All paths and their behaviours."""

    def __init__(self) -> None:
        self.behaviours: dict[str, str] = {}
        self.plays: dict[str, Play] = {}
        self.hanging: dict[str, set[Connection]] = {}  # connections that get no response, by name
        self.ports = Ports(lambda: Connection(self))

    def play_of(self, path: str) -> Play:
        """Return the counters of a path."""
        play = self.plays.get(path)
        if play is None:
            play = self.plays[path] = Play()
        return play

    async def control(self, command: dict[str, Any]) -> bytes:
        """Run a command of the test and return its result."""
        for name, behaviour in command.get("behaviours", {}).items():
            self.behaviours[name] = behaviour
            for connection in self.hanging.pop(name, set()):
                connection.close()
        if "port" in command:
            return json.dumps(await self.ports.set_state(command["port"], command["state"])).encode()
        prefix = command.get("show")
        found = {path: play.shown() for path, play in self.plays.items() if prefix and path.startswith(prefix)}
        return json.dumps(found).encode()


class Connection(asyncio.Protocol):
    """One connection of a client, which sends one request after the other."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rest = b""
        self._open: Play | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        """End the open request: the client gave up or is done."""
        self._ends()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Handle each request that is complete."""
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
            task.add_done_callback(lambda done: self._send_result(done.result()))
            return
        play = self._stage.play_of(path)
        self._open = play
        play.requests += 1
        play.at_once += 1
        play.most_at_once = max(play.most_at_once, play.at_once)
        behaviour, _, detail = self._stage.behaviours.get(path.split("/", 2)[1], "ok").partition(":")
        if behaviour == "ok":
            self._ok(play, body)
        else:
            getattr(self, f"_{behaviour}")(play, body, path, detail)

    def _send_result(self, result: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(result) + result)

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

    def _throttle(self, play: Play, body: bytes, path: str, detail: str) -> None:
        wait_s, _, for_s = detail.partition("/")
        now_ms = time.monotonic() * 1_000
        play.first_ms = play.first_ms or now_ms
        if now_ms >= play.first_ms + float(for_s) * 1_000:
            self._slow(play, body, path, "20")
            return
        self._ends()
        self._transport.write(_THROTTLED % int(wait_s))

    def _close(self, _play: Play, _body: bytes, _path: str, _detail: str) -> None:
        self._transport.close()

    def _hang(self, _play: Play, _body: bytes, path: str, _detail: str) -> None:
        self._stage.hanging.setdefault(path.split("/", 2)[1], set()).add(self)

    def _drip(self, play: Play, body: bytes, path: str, detail: str) -> None:
        self._hang(play, body, path, detail)
        self._transport.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        self._send_drop()

    def _send_drop(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"x")
            asyncio.get_running_loop().call_later(0.5, self._send_drop)

    def _ends(self) -> None:
        if self._open is not None:
            self._open.at_once -= 1
            self._open = None


def _length_in(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


class Players:
    """Runs the process and controls it, as a context manager. Its hosts are 127.0.<net>.1 and following."""

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
        """Return the root URL of one of many hosts; another host than in `url`, if the system has more than one."""
        host = self._hosts[1 + number % (len(self._hosts) - 1)] if len(self._hosts) > 1 else self._hosts[0]
        return f"http://{host}:{self.port}/"

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.kill()
        self._process.communicate()

    def behave(self, name: str, behaviour: str) -> None:
        """Set the behaviour of all endpoints of this name; connections that hang are closed."""
        self._command({"behaviours": {name: behaviour}})

    def set_port(self, name: str, state: str = "refuses") -> int:
        """Set the state of a port of its own, `refuses`, then `drops`, then `open`; return the port."""
        return int(self._command({"port": name, "state": state}))

    def seen(self, name: str) -> dict[str, dict[str, int]]:
        """Return the counters of the endpoints of this name, by path."""
        found: dict[str, dict[str, int]] = self._command({"show": f"/{name}/"})
        return found

    def _command(self, command: dict[str, Any]) -> Any:
        return self._client.post(f"{self.url}_control", json=command).json()


def hosts_of(net: int) -> tuple[str, ...]:
    """Return the addresses that a process of players listens on, if the system has them."""
    return ("127.0.0.1", *(f"127.0.{net}.{number}" for number in range(1, _HOSTS + 1)))


async def _serve(net: int) -> None:
    stage, loop = Stage(), asyncio.get_running_loop()
    first, *others = hosts_of(net)
    server = await loop.create_server(lambda: Connection(stage), first, 0, backlog=4_096)
    port = server.sockets[0].getsockname()[1]
    servers = [server]
    for host in others:
        with contextlib.suppress(OSError):  # not every system has this address
            servers += [await loop.create_server(lambda: Connection(stage), host, port, backlog=4_096)]
    print(port, len(servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # ends with the process that started this one


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
