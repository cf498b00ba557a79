"""Readiness behaves the same with epoll and kqueue."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from consumers.delivery.http import client as client_module
from consumers.delivery.http.readiness import (
    ENDED,
    READABLE,
    WRITABLE,
    EpollReadiness,
    Events,
    KqueueReadiness,
    Readiness,
    new_readiness,
)
from consumers.delivery.http.types import Response
from tests.support import kqueue
from tests.support.hostile import HostileReceiver
from tests.support.http_client import completed_of, local_client, request_to, response_of


def by_kqueue() -> KqueueReadiness:
    """A readiness of a system with kqueue."""
    return KqueueReadiness(kqueue)


@pytest.fixture(params=[EpollReadiness, by_kqueue], ids=["epoll", "kqueue"])
def readiness(request: pytest.FixtureRequest) -> Iterator[Readiness]:
    make: Callable[[], Readiness] = request.param
    one = make()
    yield one
    one.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def waits(readiness: Readiness) -> Events:
    """Return the events that are there now."""
    return readiness.wait(0.0)


def test_wake_ends_the_wait(readiness: Readiness) -> None:
    """A wake from another thread ends the wait, even if it came before the wait."""
    waker = threading.Timer(0.05, readiness.wake)
    began = time.monotonic()
    waker.start()
    readiness.wait(30)
    waker.join()
    for _ in range(3):
        readiness.wake()
        readiness.wait(30)
    assert time.monotonic() - began < 15


def test_ten_thousand_wakes_do_not_block(readiness: Readiness) -> None:
    """Many wakes before a wait do not block, and the next wait ends at once."""
    for _ in range(10_000):
        readiness.wake()
    began = time.monotonic()
    readiness.wait(30)
    assert time.monotonic() - began < 15
    assert waits(readiness) == []


def test_each_edge_is_reported_once(readiness: Readiness, pair: tuple[socket.socket, socket.socket]) -> None:
    """A socket is writable when it is new, readable when data comes, and ended when the other side has gone."""
    ours, theirs = pair
    readiness.watch(ours.fileno())
    assert waits(readiness) == [(ours.fileno(), WRITABLE)]
    assert waits(readiness) == []
    theirs.send(b"data")
    [(descriptor, events)] = waits(readiness)
    assert descriptor == ours.fileno()
    assert events & READABLE
    assert not events & ENDED
    assert waits(readiness) == []
    theirs.close()
    [(descriptor, events)] = waits(readiness)
    assert descriptor == ours.fileno()
    assert events & ENDED


def test_closed_socket_is_forgotten(readiness: Readiness, pair: tuple[socket.socket, socket.socket]) -> None:
    """Closing a socket is enough: nothing is reported of it afterwards."""
    ours, theirs = pair
    readiness.watch(ours.fileno())
    theirs.send(b"data")
    ours.close()
    assert waits(readiness) == []


def test_events_of_a_socket_are_joined(pair: tuple[socket.socket, socket.socket]) -> None:
    """kqueue reports reading and writing separately. They are joined: a descriptor may be reused between the two."""
    ours, theirs = pair
    api = kqueue.Kqueue()
    readiness = KqueueReadiness(type("Api", (), {**vars(kqueue), "kqueue": staticmethod(lambda: api)}))
    readiness.watch(ours.fileno())
    theirs.send(b"data")
    assert waits(readiness) == [(ours.fileno(), READABLE | WRITABLE)]
    assert [event.ident for event in api.reported[-1]].count(ours.fileno()) == 2
    readiness.close()


def test_event_bits_are_those_of_epoll() -> None:
    """Events of an epoll are used as they are."""
    assert (READABLE, WRITABLE) == (select.EPOLLIN, select.EPOLLOUT)
    assert select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR == ENDED


@pytest.mark.parametrize("how", ["ok", "ok-body", "no-content", "ok-and-close", "mid-body", "close", "huge-headers"])
def test_client_works_with_kqueue(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of any size end with kqueue as with epoll, also over reused connections."""
    receiver = HostileReceiver()
    url = f"http://127.0.0.1:{receiver.port}/{how}"
    found = []
    for make in (new_readiness, by_kqueue):
        monkeypatch.setattr(client_module, "new_readiness", make)
        client = local_client()
        requests = [request_to(url, body=body) for body in (b"{}", b"x" * 3_000_000) * 5]
        found.append([each.response for each in completed_of(client, *requests)])
        found[-1] += [response_of(client, request_to(url)) for _ in range(3)]
        client.close()
    assert found[0] == found[1]
    receiver.close()


def test_client_uses_kqueue_without_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS and the BSDs the module `select` has a kqueue and no epoll."""
    epoll = select.epoll
    monkeypatch.delattr(select, "epoll")
    for name, value in vars(kqueue).items():
        if name.startswith("KQ_") or name == "kevent":
            monkeypatch.setattr(select, name, value, raising=False)
    monkeypatch.setattr(select, "kqueue", lambda: kqueue.Kqueue(epoll()), raising=False)
    receiver, client = HostileReceiver(), local_client()
    assert isinstance(client._readiness, KqueueReadiness)
    assert response_of(client, request_to(f"http://127.0.0.1:{receiver.port}/ok")) == Response(200, None, b"", False)
    client.close()
    receiver.close()
