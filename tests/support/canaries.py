"""Hostile URLs and names in a network namespace where this machine has every address and listens on all of them.

`unshare -n -m python -m tests.support.canaries` posts to hostile URLs and names with a real resolver and real sockets.
It prints as JSON the result of each request and the addresses that got connections. Nothing leaves the namespace.
"""

from __future__ import annotations

import contextlib
import csv
import json
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any, Final

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.resolver import Addresses, Resolver
from consumers.delivery.http.types import Request, Response
from schemas.catalog.errors import InvalidInput
from schemas.network.egress import EgressPolicy, Target
from tests.support.dns import DnsServer
from tests.support.http_client import poll

PUBLIC: Final = "93.184.216.34"
PUBLIC6: Final = "2606:4700::1111"
PORTS: Final = (80, 443)
# Public addresses only. http, as a canary speaks no TLS and the address policy does not depend on it.
POLICY: Final = EgressPolicy(allow_http=True)
_REGISTRIES: Final = Path(__file__).parents[1] / "unit" / "data" / "iana_special_purpose.csv"


def _special() -> list[str]:
    """Return the first and last address of every special block, and loopback and metadata in every IPv6 form."""
    with _REGISTRIES.open(encoding="utf-8", newline="") as file:
        blocks = [ip_network(row["Address Block"]) for row in csv.DictReader(file)]
    addresses = {str(block[edge]) for block in blocks for edge in (0, -1)}
    for inner in ("127.0.0.1", "169.254.169.254", "10.0.0.1"):
        number = int(IPv4Address(inner))
        forms = (number, 0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80)
        addresses |= {inner, *(str(IPv6Address(form)) for form in forms)}
    return sorted(addresses | {"168.63.129.16", "fd00:ec2::254", "4000::1", "::2"})


SPECIAL: Final = _special()


def zone(name: str, times: int) -> list[str]:
    """Return the addresses of a name: special-<n>, mixed-<n>, alias-<n>, flip, flop or public."""
    type_, _, number = name.partition(".")[0].partition("-")
    match type_:
        case "special":
            return [SPECIAL[int(number)]]
        case "mixed":
            return [PUBLIC, PUBLIC6, SPECIAL[int(number)]]
        case "alias":
            return ["=localhost", SPECIAL[int(number)]]
        case "flip":  # public for the check, internal for every later query
            return [PUBLIC] if times == 0 else ["127.0.0.1"]
        case "flop":
            return ["127.0.0.1"] if times % 2 == 0 else [PUBLIC]
        case _:
            return [PUBLIC, PUBLIC6]


class Canaries:
    """Listens on every address; responds with 200 and collects the addresses that got connections."""

    def __init__(self) -> None:
        self.connected: list[str] = []
        self._selector = selectors.DefaultSelector()
        for port in PORTS:
            for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                listener = socket.socket(family, socket.SOCK_STREAM)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((host, port))
                listener.listen(512)
                self._selector.register(listener, selectors.EVENT_READ)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                listener = key.fileobj
                assert isinstance(listener, socket.socket)
                connection, _ = listener.accept()
                self.connected.append(connection.getsockname()[0])
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(2)
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def _configure_namespace() -> None:
    for command in (
        "ip link set lo up",
        "ip route add local 0.0.0.0/0 dev lo",
        "ip -6 route add local ::/0 dev lo",
    ):
        subprocess.run(command.split(), check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".resolv.conf", delete=False) as file:
        file.write("nameserver 127.0.0.1\nsearch internal.example\n")
    subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
    Path(file.name).unlink()  # the mount keeps the content


def _targets() -> dict[str, Target]:
    """Return all targets by label; literals are made as if the URL rules had accepted them."""
    names = [f"{type_}-{n}" for type_ in ("special", "mixed", "alias") for n in range(len(SPECIAL))]
    targets = {name: POLICY.check_url(f"http://{name}.example.com/") for name in [*names, "flop"]}
    for address in SPECIAL:
        literal = f"[{address}]" if ":" in address else address
        targets[f"literal {address}"] = Target(f"http://{literal}/", "http", address, 80)
    for odd in ("127.1", "0x7f000001", "2130706433", "017700000001", "0", "localhost"):
        with contextlib.suppress(InvalidInput):
            targets[f"accepted {odd}"] = POLICY.check_url(f"http://{odd}/")
        targets[f"literal {odd}"] = Target(f"http://{odd}/", "http", odd, 80)
    return targets


def _run(client: HttpClient, targets: dict[str, Target]) -> dict[str, str]:
    for label, target in targets.items():
        client.start(Request(target, [b"Content-Type: text/plain"], b"canary", 10_000, label))
    results: dict[str, str] = {}
    ends_at = time.monotonic() + 30
    while client.is_busy and time.monotonic() < ends_at:
        for each in poll(client, 0.2):
            response = each.response
            results[str(each.request.context)] = (
                str(response.status) if isinstance(response, Response) else f"{response.kind}: {response.detail}"
            )
    return results


class _UncheckedResolver(Resolver):
    """A resolver that checks no address: only the socket's own check is left."""

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Any:
        """Return a special address for any name."""
        index = int(host.partition(".")[0].rpartition("-")[2])
        return Addresses((SPECIAL[index],))


def main() -> None:
    """Send all requests and print the report."""
    _configure_namespace()
    server = DnsServer(zone, address=("127.0.0.1", 53))
    canaries = Canaries()
    client = HttpClient(POLICY, Resolver(POLICY))
    control = {name: POLICY.check_url(f"http://{name}.example.com/") for name in ("public", "public-again", "flip")}
    result: dict[str, Any] = {"public": _run(client, control), "public_connected": list(canaries.connected)}
    canaries.connected.clear()
    result["hostile"] = _run(client, _targets())
    result["hostile_connected"] = list(canaries.connected)
    canaries.connected.clear()
    # The TTL of its answer has passed: the next query gets 127.0.0.1.
    result["flipped"] = {}
    ends_at = time.monotonic() + 20
    while not result["flipped"].get("flip", "").startswith("blocked") and time.monotonic() < ends_at:
        result["flipped"] = _run(client, {"flip": control["flip"]})
    result["flipped_connected"] = list(canaries.connected)
    canaries.connected.clear()
    unchecked = HttpClient(POLICY, _UncheckedResolver(POLICY))
    names = {f"special-{n}": POLICY.check_url(f"http://special-{n}.example.com/") for n in range(len(SPECIAL))}
    result["unchecked"] = _run(unchecked, names)
    result["unchecked_connected"] = list(canaries.connected)
    result["queried"] = sorted({name for name, _ in server.asked})
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
