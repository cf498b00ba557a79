"""A TCP proxy before the broker: a test sees each request and each answer by its name, and may hold, delay or lose it.

Only those who are given the proxy's address go through it, and stay with it: in answers that name brokers (metadata,
coordinators) the broker's port is replaced by the proxy's. All else passes as it is.
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

_CHUNK: Final = 1 << 16
_HEAD: Final = struct.Struct(">ihhi")  # size, api key, api version, correlation id
_ANSWER: Final = struct.Struct(">ii")  # size, correlation id


class Api(IntEnum):
    """Kinds of requests, by their numbers in Kafka's protocol."""

    PRODUCE = 0
    FETCH = 1
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


Direction: TypeAlias = Literal["request", "answer"]
_NAME_BROKERS: Final = frozenset({Api.METADATA, Api.FIND_COORDINATOR, Api.DESCRIBE_CLUSTER})


@dataclass(frozen=True, slots=True)
class Frame:
    """A request on its way to the broker, or the broker's answer on its way back."""

    api: int
    direction: Direction


Rule: TypeAlias = Callable[[Frame], bool]
"""Asked for each frame, in a thread of its connection, which waits for it; False: the frame is lost."""

Delay: TypeAlias = Callable[[Frame], float]
"""How many seconds an answer is on its way: of a broker that is far; what comes behind it is on its way meanwhile."""


def pass_all(_: Frame) -> bool:
    """Let everything pass."""
    return True


def at_once(_: Frame) -> float:
    """Delay nothing."""
    return 0.0


def late(seconds: float, *apis: Api) -> Delay:
    """Delay the answers to these requests, to all where none are named."""
    return lambda frame: seconds if not apis or frame.api in apis else 0.0


def slow(seconds: float, *apis: Api) -> Rule:
    """Take so long over each of these requests, of all where none are named, one after the other in each connection.

    So does a broker whose disk or followers are slow: it takes the next request of a connection up when it has
    answered the one before.
    """
    pause = threading.Event()

    def rule(frame: Frame) -> bool:
        if frame.direction == "request" and (not apis or frame.api in apis):
            pause.wait(seconds)
        return True

    return rule


@dataclass(frozen=True, slots=True)
class _Link:
    """A connection of a client, and the one to the broker that it is joined with."""

    client: socket.socket
    broker: socket.socket
    asked: dict[int, int] = field(default_factory=dict)  # api by correlation id
    answers: queue.SimpleQueue[tuple[float, bytes] | None] = field(default_factory=queue.SimpleQueue)


class KafkaProxy:
    """Listens at 127.0.0.1 for a broker of one node; `rule`, `delay` and `bytes_per_s` may be set anew at any time.

    `bytes_per_s` is what a connection carries each way.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        brokers = admin_of(bootstrap_servers).list_topics(timeout=30).brokers
        assert len(brokers) == 1, "the proxy stands before a single node"
        (broker,) = brokers.values()
        self._host = str(broker.host)
        assert self._host in {"127.0.0.1", "localhost"}, f"the proxy cannot take the name {self._host}"
        self._broker = (self._host, int(broker.port))
        self._listener = socket.create_server((self._host, 0))
        self.port: int = self._listener.getsockname()[1]
        # Host and port stand side by side in every answer that names a broker.
        host = self._host.encode()
        self._named, self._instead = (host + struct.pack(">i", port) for port in (self._broker[1], self.port))
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        self.rule: Rule = pass_all
        self.delay: Delay = at_once
        self.bytes_per_s: int | None = None
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def bootstrap_servers(self) -> str:
        """Return the address to give to whoever is to go through the proxy."""
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
            link = _Link(client, broker)
            for pump in (self._requests, self._answers, self._arrivals):
                threading.Thread(target=self._run, args=(pump, link), daemon=True).start()

    def _run(self, pump: Callable[[_Link], None], link: _Link) -> None:
        try:
            pump(link)
        except OSError:
            pass  # one side has closed the connection: so does the other
        finally:
            link.answers.put(None)
            for connection in (link.client, link.broker):
                self._open.discard(connection)
                _end(connection)

    def _requests(self, link: _Link) -> None:
        while frame := _read_frame(link.client):
            _, api, _, correlation = _HEAD.unpack_from(frame)
            link.asked[correlation] = api
            if self.rule(Frame(api, "request")):
                self._send(link.broker, frame)

    def _answers(self, link: _Link) -> None:
        while frame := _read_frame(link.broker):
            api = link.asked.pop(_ANSWER.unpack_from(frame)[1])
            if api in _NAME_BROKERS:
                frame = frame.replace(self._named, self._instead)
            if self.rule(Frame(api, "answer")):
                link.answers.put((time.monotonic() + self.delay(Frame(api, "answer")), frame))

    def _arrivals(self, link: _Link) -> None:
        while (answer := link.answers.get()) is not None:
            arrives_s, frame = answer
            if (left_s := arrives_s - time.monotonic()) > 0:
                self._closing.wait(left_s)
            self._send(link.client, frame)

    def _send(self, to: socket.socket, frame: bytes) -> None:
        if not self.bytes_per_s:
            to.sendall(frame)
            return
        part = max(1, self.bytes_per_s // 50)  # of a fiftieth of a second
        for start in range(0, len(frame), part):
            to.sendall(frame[start : start + part])
            self._closing.wait(0.02)


class Gate:
    """A rule that stops the first frame of its kind once it is armed, and what comes behind it in its connection.

    `reached` is called when the frame stands there. Opened with `lose` the frame never arrives.
    """

    def __init__(self, api: Api, direction: Direction, reached: Callable[[], None] = lambda: None) -> None:
        self._frame = Frame(api, direction)
        self._reached = reached
        self._armed = threading.Lock()  # taken while it is not
        self._armed.acquire()
        self._stands = threading.Event()
        self._opened = threading.Event()
        self._lose = False

    def __call__(self, frame: Frame) -> bool:
        if frame != self._frame or not self._armed.acquire(blocking=False):
            return True
        self._stands.set()
        self._reached()
        self._opened.wait()
        return not self._lose

    def arm(self) -> None:
        """Stop the next frame of its kind."""
        self._armed.release()

    def wait_reached(self, deadline_s: float = 30.0) -> None:
        """Wait until a frame stands there."""
        assert self._stands.wait(deadline_s), f"no {self._frame} within {deadline_s:g} s"

    def open(self, *, lose: bool = False) -> None:
        """Let it go on its way, or lose it."""
        self._lose = lose
        self._opened.set()


def _read_frame(source: socket.socket) -> bytes:
    """Return the next frame with its size in front; nothing at the end of the connection."""
    head = _read(source, 4)
    return head + _read(source, int.from_bytes(head, "big")) if head else b""


def _read(source: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = source.recv(min(_CHUNK, size - len(found)))
        if not part:
            return b""
        found += part
    return bytes(found)


def _end(connection: socket.socket) -> None:
    """Close a socket that another thread may be reading: a plain close would leave that thread waiting."""
    with contextlib.suppress(OSError):  # the other side was first
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
