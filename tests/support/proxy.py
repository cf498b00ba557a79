"""A TCP proxy before a Kafka broker: tests can hold, delay or drop each request and each response by its kind.

Clients that get the proxy's address keep using it: in responses that name brokers (metadata, coordinators) the proxy
replaces the broker's port by its own. All other bytes pass unchanged.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from tests.support.topics import admin_of
from tests.support.waiting import HANGS_S

_CHUNK: Final = 1 << 16
_HEAD: Final = struct.Struct(">ihhi")  # size, api key, api version, correlation id
_RESPONSE: Final = struct.Struct(">ii")  # size, correlation id


class Api(IntEnum):
    """Kinds of requests, by their numbers in Kafka's protocol."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    DESCRIBE_CLUSTER = 60


Direction: TypeAlias = Literal["request", "response"]
_NAME_BROKERS: Final = frozenset({Api.METADATA, Api.FIND_COORDINATOR, Api.DESCRIBE_CLUSTER})


@dataclass(frozen=True, slots=True)
class Frame:
    """A request to the broker, or its response."""

    api: int
    direction: Direction


Rule: TypeAlias = Callable[[Frame], bool]
"""Called for each frame, in a thread of its connection, which waits for it; False drops the frame."""

Delay: TypeAlias = Callable[[Frame], float]
"""Latency of a response in seconds; responses overlap, as those of a distant broker."""


def pass_all(_: Frame) -> bool:
    """Pass every frame."""
    return True


def at_once(_: Frame) -> float:
    """Delay nothing."""
    return 0.0


def late(seconds: float, *apis: Api) -> Delay:
    """Delay the responses to these requests; to all requests if none are given."""
    return lambda frame: seconds if not apis or frame.api in apis else 0.0


def slow(seconds: float, *apis: Api) -> Rule:
    """Delay these requests, one after the other in each connection; all requests if none are given.

    A broker with a slow disk or slow followers does the same: it handles the next request of a connection after it has
    responded to the previous one.
    """
    pause = threading.Event()

    def rule(frame: Frame) -> bool:
        if frame.direction == "request" and (not apis or frame.api in apis):
            pause.wait(seconds)
        return True

    return rule


@dataclass(frozen=True, slots=True)
class _Connection:
    """A connection of a client and its connection to the broker."""

    client: socket.socket
    broker: socket.socket
    requests: dict[int, tuple[int, int]] = field(default_factory=dict)  # api and version, by correlation id
    responses: queue.SimpleQueue[tuple[float, bytes] | None] = field(default_factory=queue.SimpleQueue)


class KafkaProxy:
    """Listens at 127.0.0.1 for a single broker; tests may change the public attributes at any time.

    `bytes_per_s` is the bandwidth of a connection in each direction. With `lists_no_broker`, metadata has neither
    brokers nor topics, as that of a broker that stood still until its controller has heard from it again.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        brokers = admin_of(bootstrap_servers).list_topics(timeout=30).brokers
        assert len(brokers) == 1, "the proxy supports a single broker"
        (broker,) = brokers.values()
        self._host = str(broker.host)
        assert self._host in {"127.0.0.1", "localhost"}, f"the proxy cannot listen at {self._host}"
        self._broker = (self._host, int(broker.port))
        self._listener = socket.create_server((self._host, 0))
        self.port: int = self._listener.getsockname()[1]
        # In every response that names a broker the port follows the host.
        host = self._host.encode()
        self._broker_address = host + struct.pack(">i", self._broker[1])
        self._proxy_address = host + struct.pack(">i", self.port)
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        self.rule: Rule = pass_all
        self.delay: Delay = at_once
        self.bytes_per_s: int | None = None
        self.lists_no_broker = False
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def bootstrap_servers(self) -> str:
        """Return the address for clients that use the proxy."""
        return f"{self._host}:{self.port}"

    def close(self) -> None:
        """Stop listening and close all connections."""
        self._closing.set()
        _end(self._listener)
        for connection in list(self._open):
            _end(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._broker, timeout=10)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            self._open |= {client, broker}
            connection = _Connection(client, broker)
            for pump in (self._requests, self._responses, self._arrivals):
                threading.Thread(target=self._run, args=(pump, connection), daemon=True).start()

    def _run(self, pump: Callable[[_Connection], None], connection: _Connection) -> None:
        try:
            pump(connection)
        except OSError:
            pass  # one side closed the connection: `finally` closes the other
        finally:
            connection.responses.put(None)
            for side in (connection.client, connection.broker):
                self._open.discard(side)
                _end(side)

    def _requests(self, connection: _Connection) -> None:
        while frame := _read_frame(connection.client):
            _, api, version, correlation = _HEAD.unpack_from(frame)
            connection.requests[correlation] = (api, version)
            if self.rule(Frame(api, "request")):
                self._send(connection.broker, frame)

    def _responses(self, connection: _Connection) -> None:
        while frame := _read_frame(connection.broker):
            api, version = connection.requests.pop(_RESPONSE.unpack_from(frame)[1])
            if api in _NAME_BROKERS:
                frame = frame.replace(self._broker_address, self._proxy_address)
            if api == Api.METADATA and self.lists_no_broker:
                frame = _empty_metadata(frame, version)
            if self.rule(Frame(api, "response")):
                connection.responses.put((time.monotonic() + self.delay(Frame(api, "response")), frame))

    def _arrivals(self, connection: _Connection) -> None:
        while (response := connection.responses.get()) is not None:
            arrives_s, frame = response
            if (left_s := arrives_s - time.monotonic()) > 0:
                self._closing.wait(left_s)
            self._send(connection.client, frame)

    def _send(self, to: socket.socket, frame: bytes) -> None:
        if not self.bytes_per_s:
            to.sendall(frame)
            return
        part = max(1, self.bytes_per_s // 50)  # bytes of a fiftieth of a second
        for start in range(0, len(frame), part):
            to.sendall(frame[start : start + part])
            self._closing.wait(0.02)


class Gate:
    """A rule that, once armed, holds the next frame of its kind and all frames behind it in its connection.

    `on_reached` is called when a frame is held. `open(lose=True)` drops the frame.
    """

    def __init__(self, api: Api, direction: Direction, on_reached: Callable[[], None] = lambda: None) -> None:
        self._frame = Frame(api, direction)
        self._every = False
        self._on_reached = on_reached
        self._armed = threading.Lock()  # locked while the gate is not armed
        self._armed.acquire()
        self._held = threading.Event()
        self._opened = threading.Event()
        self._lose = False

    def __call__(self, frame: Frame) -> bool:
        is_open = self._every and self._opened.is_set()
        if frame != self._frame or is_open or not self._armed.acquire(blocking=False):
            return True
        if self._every:
            self._armed.release()
        self._held.set()
        self._on_reached()
        self._opened.wait()
        return not self._lose

    def arm(self, *, every: bool = False) -> None:
        """Hold the next frame of its kind; with `every`, hold all of them until the gate is opened.

        A client that gets no response sends its request again, with another connection.
        """
        self._every = every
        self._armed.release()

    def wait_reached(self, deadline_s: float = HANGS_S) -> None:
        """Wait until a frame is held."""
        assert self._held.wait(deadline_s), f"no {self._frame} within {deadline_s:g} s"

    def open(self, *, lose: bool = False) -> None:
        """Pass the held frame, or drop it."""
        self._lose = lose
        self._opened.set()


def _empty_metadata(frame: bytes, version: int) -> bytes:
    """Return a metadata response without brokers and topics, in place of another one."""
    assert version >= 9, "the older encoding of metadata"
    body = frame[4:8] + b"\0"  # correlation id, no tags
    body += struct.pack(">i", 0) + b"\1"  # not throttled, no brokers
    body += b"\0" + struct.pack(">i", -1) + b"\1"  # no cluster id, no controller, no topics
    if version < 11:
        body += struct.pack(">i", -1)  # authorized operations
    if version >= 13:
        body += struct.pack(">h", 0)  # no error
    body += b"\0"  # no tags
    return struct.pack(">i", len(body)) + body


def _read_frame(source: socket.socket) -> bytes:
    """Return the next frame with its size prefix; empty at the end of the connection, also in the middle of a frame."""
    head = _read(source, 4)
    body = _read(source, int.from_bytes(head, "big"))
    return head + body if body else b""


def _read(source: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = source.recv(min(_CHUNK, size - len(found)))
        if not part:
            return b""
        found += part
    return bytes(found)


def _end(connection: socket.socket) -> None:
    """Close a socket that another thread may be reading; without the shutdown that thread would keep waiting."""
    with contextlib.suppress(OSError):  # the other side closed it first
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
