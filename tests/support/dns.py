"""A DNS server of the tests: answers per name, changes its mind, or says nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, TypeAlias

A: Final = 1
CNAME: Final = 5
AAAA: Final = 28
_NO_SUCH_NAME: Final = 3
_SERVER_FAILURE: Final = 2

# What a name has: addresses, `SILENCE`, `NO_NAME`, `BROKEN`, or another name; asked with how often it was asked before.
SILENCE: Final = "silence"
NO_NAME: Final = "no name"
BROKEN: Final = "broken"
Zone: TypeAlias = Callable[[str, int], list[str]]


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _question(packet: bytes) -> tuple[str, int, bytes]:
    """Return name, type and the bytes of the question."""
    labels, at = [], 12
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
        at += 1 + packet[at]
    return ".".join(labels).lower(), struct.unpack(">H", packet[at + 1 : at + 3])[0], packet[12 : at + 5]


def _records(owner: bytes, kind: int, found: list[str], ttl: int) -> list[bytes]:
    """Return the records of a type; an alias comes before the addresses that it leads to."""
    records = []
    for item in found:
        if item.startswith("="):
            records.append(_record(owner, CNAME, _labels(item[1:]), ttl))
            owner = _labels(item[1:])
            continue
        address = ip_address(item)
        if kind == (A if address.version == 4 else AAAA):
            records.append(_record(owner, kind, address.packed, ttl))
    return records


def _record(owner: bytes, kind: int, data: bytes, ttl: int) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


class DnsServer:
    """Answers on UDP at `address`; counts questions by name and type."""

    def __init__(self, zone: Zone, *, address: tuple[str, int] = ("127.0.0.1", 0), ttl: int = 0) -> None:
        self._zone = zone
        self.ttl = ttl
        self.asked: Counter[tuple[str, int]] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(address)
        host, port = self._socket.getsockname()
        self.address = f"{host}:{port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                packet, sender = self._socket.recvfrom(4096)
                if not packet:
                    return
                answer = self._answer(packet)
                if answer:
                    self._socket.sendto(answer, sender)
            except OSError:
                return

    def _answer(self, packet: bytes) -> bytes:
        name, kind, question = _question(packet)
        found = self._zone(name, self.asked[name, kind])
        self.asked[name, kind] += 1
        if found == [SILENCE]:
            return b""
        code = {NO_NAME: _NO_SUCH_NAME, BROKEN: _SERVER_FAILURE}.get(found[0], 0) if found else 0
        records = [] if code else _records(b"\xc0\x0c", kind, found, self.ttl)
        header = packet[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        return header + question + b"".join(records)
