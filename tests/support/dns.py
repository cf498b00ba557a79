"""A DNS server for tests: answers that depend on name and number of queries, or no response."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, TypeAlias

from tests.support.listening import serve_each

A: Final = 1
CNAME: Final = 5
AAAA: Final = 28
_NO_SUCH_NAME: Final = 3
_SERVER_FAILURE: Final = 2

# The answer for a name: addresses, `=alias`, or one of these. An answer that starts with OVER_TCP, or does not fit into
# a datagram, is truncated over UDP and complete over TCP.
SILENCE: Final = "silence"
NO_NAME: Final = "no name"
BROKEN: Final = "broken"
OVER_TCP: Final = "over TCP"
_MAX_DATAGRAM: Final = 1_232
_TRUNCATED: Final = 0x0200
# Gets the name and the number of earlier queries for it.
Zone: TypeAlias = Callable[[str, int], list[str]]


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _question(packet: bytes) -> tuple[str, int, bytes]:
    """Return name, type and the bytes of the question."""
    labels = []
    at = 12
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
        at += 1 + packet[at]
    return ".".join(labels).lower(), struct.unpack(">H", packet[at + 1 : at + 3])[0], packet[12 : at + 5]


def _records(owner: bytes, type_: int, found: list[str], ttl: int) -> list[bytes]:
    """Return the records of a type; an alias comes before the addresses that it leads to."""
    records = []
    for item in found:
        if item.startswith("="):
            records.append(_record(owner, CNAME, _labels(item[1:]), ttl))
            owner = _labels(item[1:])
            continue
        address = ip_address(item)
        if type_ == (A if address.version == 4 else AAAA):
            records.append(_record(owner, type_, address.packed, ttl))
    return records


def _record(owner: bytes, type_: int, data: bytes, ttl: int) -> bytes:
    return owner + struct.pack(">HHIH", type_, 1, ttl, len(data)) + data


class DnsServer:
    """Answers over UDP and TCP at `address`; counts the queries by name and type, separately for UDP and TCP."""

    def __init__(self, zone: Zone, *, address: tuple[str, int] = ("127.0.0.1", 0), ttl: int = 0) -> None:
        self._zone = zone
        self.ttl = ttl
        self.asked: Counter[tuple[str, int]] = Counter()
        self.asked_over_tcp: Counter[tuple[str, int]] = Counter()
        self._listener = socket.create_server(address, backlog=64)
        host, port = self._listener.getsockname()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((host, port))
        self.address = f"{host}:{port}"
        threading.Thread(target=self._serve, daemon=True).start()
        serve_each(self._listener, self._serve_stream)

    def close(self) -> None:
        """Stop answering."""
        for each in (self._socket, self._listener):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                packet, sender = self._socket.recvfrom(4096)
                if not packet:
                    return
                answer = self._answer(packet, self.asked)
                if answer:
                    self._socket.sendto(answer, sender)
            except OSError:
                return

    def _serve_stream(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while size := stream.read(2):
                answer = self._answer(stream.read(int.from_bytes(size, "big")), self.asked_over_tcp)
                if not answer:
                    return
                connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, packet: bytes, queried: Counter[tuple[str, int]]) -> bytes:
        try:
            name, type_, question = _question(packet)
        except (IndexError, ValueError, struct.error):
            return b""  # from a client of another server, which had this port before
        found = self._zone(name, queried[name, type_])
        queried[name, type_] += 1
        if found == [SILENCE]:
            return b""
        whole = queried is self.asked_over_tcp
        forced = found[:1] == [OVER_TCP]
        found = found[1:] if forced else found
        code = {NO_NAME: _NO_SUCH_NAME, BROKEN: _SERVER_FAILURE}.get(found[0], 0) if found else 0
        records = [] if code else _records(b"\xc0\x0c", type_, found, self.ttl)
        flags = 0x8180 | code
        if not whole and (forced or sum(map(len, records)) > _MAX_DATAGRAM):
            flags |= _TRUNCATED
            records = []
        header = packet[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
        return header + question + b"".join(records)
