"""Endpoints with many kinds of faults next to healthy ones: no job is lost, nothing goes to a forbidden address.

Their TLS is wrong, DNS points elsewhere, their subscriptions forge requests, or their responses do not end. A delivery
process serves them and healthy endpoints. When the faults are repaired, all jobs are delivered.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from schemas.subscriptions.header_rules import is_sendable
from schemas.subscriptions.sealing import header_place
from schemas.subscriptions.subscription import SealedHeader
from tests.faults.test_dns import CASES as DNS_CASES
from tests.support.certificates import Authority
from tests.support.dns import DnsServer
from tests.support.hostile import HostileReceiver, hostile_process
from tests.support.memory import MIB, resident_bytes
from tests.support.odd import FaultyRun, Size, World
from tests.support.pipeline import Pipeline
from tests.support.players import Players
from tests.support.retries import come_back, outage
from tests.support.scenario import Scenario
from tests.support.table import RecordProperty, Row
from tests.support.waiting import wait_until
from tests.support.windows import Windows
from tests.unit.schemas.test_header_injections import NAMES, VALUES

# Short steps that have delay topics, and enough of them that no job is exhausted.
SCHEDULE_S = (1,) * 30
PUBLIC = "127.0.0.1"
INTERNAL = "127.0.0.2"
FLAT = 48 * MIB
IN_FLIGHT = 16


SHORT = Size("short", 100, 1, Windows(2, 1, 1, 200, 0, 0, 400))
LONG = Size("long", 1_000, 10, Windows(2, 4, 6, 500, 0, 0, 1_800))
SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
pytestmark = [pytest.mark.scenario, pytest.mark.promise(4, 5)]


@pytest.fixture(scope="module")
def world(module_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    zone: dict[str, list[str]] = {}
    dns = DnsServer(lambda name, _times: zone.get(name, [PUBLIC]))
    with Players(2) as players:
        settings = {
            "dns_servers": [dns.address],
            "ca_bundle": str(authority.roots),
            "allow_cidrs": [f"{PUBLIC}/32", "127.0.2.0/24"],
        }
        yield World(Scenario(module_pipeline, players, **settings), players, authority, zone)
    dns.close()


TLS_FAULTS = {
    "expired": {"tls_expired"},
    "wrong-name": {"tls_hostname"},
    "self-signed": {"tls_untrusted"},
    "old": {"tls_version"},
    "asks-for-a-certificate": {"tls_client_certificate", "tls_failed"},
    "stalls": {"timeout_tls"},
}


def _tls_receiver(authority: Authority, fault: str, host: str) -> HostileReceiver:
    context = {
        "expired": lambda: authority.server(host, when="past"),
        "wrong-name": lambda: authority.server("other.example.com"),
        "self-signed": lambda: authority.server(host, self_signed=True),
        "old": lambda: authority.old_server(host),
        "asks-for-a-certificate": lambda: authority.server(host, clients=True),
        "stalls": lambda: authority.server(host),
    }[fault]()
    receiver = HostileReceiver(context)
    if fault == "stalls":
        receiver.handshake.clear()
    return receiver


@pytest.mark.parametrize("size", SIZES)
def test_endpoints_with_tls_faults_get_nothing_until_repaired(
    world: World, size: Size, record_property: RecordProperty
) -> None:
    """An endpoint with a wrong certificate, TLS version or handshake gets no request until it is repaired."""
    hosts = [f"{fault}.{size.name}.example.com" for fault in TLS_FAULTS]
    receivers = [_tls_receiver(world.authority, *pair) for pair in zip(TLS_FAULTS, hosts, strict=True)]
    urls = [f"https://{host}:{receiver.port}/ok" for host, receiver in zip(hosts, receivers, strict=True)]
    faulty = world.scenario.subscribe(f"tls-{size.name}", urls, timeout_s=2, schedule_s=SCHEDULE_S)

    def repair(one: FaultyRun) -> None:
        wait_until(lambda: len(one.errors()) == len(TLS_FAULTS), what="each endpoint has failed")
        assert [receiver.requests for receiver in receivers] == [[]] * len(receivers)
        for host, receiver in zip(hosts, receivers, strict=True):
            receiver.present(world.authority.server(host))
            receiver.handshake.set()

    one = world.run(size, faulty, repair)
    row = one.row("tls", [request for receiver in receivers for request in receiver.requests])
    row.show(record_property)
    for receiver in receivers:
        receiver.close()
    assert (row.lost, row.repeated) == (0, 0)
    for (fault, kinds), shown in zip(TLS_FAULTS.items(), (one.errors()[n] for n in range(len(hosts))), strict=True):
        assert shown <= kinds, fault


@pytest.mark.parametrize(
    ("jobs", "step_s"), [pytest.param(300, 1, id="short"), pytest.param(5_000, 20, id="long", marks=pytest.mark.long)]
)
def test_retries_after_an_outage_keep_limit_and_due_time(
    world: World, jobs: int, step_s: int, record_property: RecordProperty
) -> None:
    """Retries that are due together are sent within the endpoint's limit, none of them early."""
    batch = outage(world.scenario, f"outage-{jobs}", jobs, step_s=step_s, deadline_s=1_800)
    ends = world.scenario.ends
    found = come_back(ends.odd(batch))
    Row(f"retries: {found}", jobs, jobs, ends.missing(batch), ends.again(batch)).show(record_property)
    assert (found.retries, found.early) == (jobs, 0)
    assert found.max_concurrent <= IN_FLIGHT
    assert (ends.missing(batch), ends.again(batch)) == (0, 0)


@contextlib.contextmanager
def canaries(port: int) -> Iterator[list[str]]:
    """Listen at internal addresses; at the end the list has the addresses that got a connection."""
    connected: list[str] = []
    with contextlib.ExitStack() as closing:
        listening = []
        for family, address in ((socket.AF_INET, INTERNAL), (socket.AF_INET6, "::1")):
            canary = closing.enter_context(socket.socket(family))
            canary.bind((address, port))
            canary.listen()
            canary.setblocking(False)
            listening.append((canary, address))
        yield connected
        for canary, address in listening:
            with contextlib.suppress(BlockingIOError):
                canary.accept()
                connected.append(address)


def changes_quickly(_: list[str], first: int | str, later: list[str], _later: int | str) -> bool:
    """Return whether a change of the DNS answer takes effect soon: c-ares caches missing addresses for half a minute.

    test_dns.py has a short form of the other cases, with its own clock.
    """
    return first != "dns" and not any(":" in address for address in later)


@pytest.mark.parametrize("size", SIZES)
def test_changing_dns_answers_reach_no_internal_address(
    world: World, size: Size, record_property: RecordProperty
) -> None:
    """Whatever DNS answers first and later, no internal address is reached and no other endpoint is delayed."""
    receiver = HostileReceiver()
    cases = [case for case in DNS_CASES.values() if size is LONG or changes_quickly(*case)]
    names = [f"{number}.{size.name}.example.com" for number in range(len(cases))]
    urls = [f"http://{name}:{receiver.port}/ok-and-close" for name in names]
    faulty = world.scenario.subscribe(f"dns-{size.name}", urls, timeout_s=2, schedule_s=SCHEDULE_S)

    def have_failed(one: FaultyRun, which: int) -> bool:
        """Return whether each name has failed as expected for its first (1) or later (3) DNS answer."""
        errors = one.errors()
        return all(not isinstance(case[which], str) or case[which] in errors[n] for n, case in enumerate(cases))

    def begin_window(one: FaultyRun) -> None:
        if one.batches:
            wait_until(lambda: have_failed(one, 1), 120, what="each name has failed by its first answer")
        for name, case in zip(names, cases, strict=True):
            world.zone[name] = case[2] if one.batches else case[0]

    def repair(one: FaultyRun) -> None:
        wait_until(lambda: have_failed(one, 3), 120, what="each name has failed by its later answer")
        world.zone.clear()

    with canaries(receiver.port) as connected:
        one = world.run(size, faulty, repair, begin_window)
    row = one.row("dns", receiver.requests)
    row.show(record_property)
    receiver.close()
    assert connected == []
    assert (row.lost, row.repeated) == (0, 0)


def _is_text(*parts: str) -> bool:
    with contextlib.suppress(UnicodeEncodeError):
        return bool("".join(parts).encode())
    return False


FORGED = [(name, "a") for name in NAMES] + [("X-Own", value) for value in VALUES]
FORGED = [pair for pair in FORGED if not is_sendable(*pair) and _is_text(*pair)]


@pytest.mark.parametrize("size", SIZES)
def test_forged_headers_are_never_sent(world: World, size: Size, record_property: RecordProperty) -> None:
    """Records with headers that would forge a request send nothing until they are replaced."""
    name = f"forged-{size.name}"
    topic = world.scenario.pipeline.names.subscriptions

    def forged(id_: str, number: int) -> dict[str, object]:
        header, value = FORGED[number]
        place = header_place(header, "1")
        sealed = world.scenario.sealer.seal(value, topic=topic, subscription_id=id_, secret_id=place)
        return {"headers": (SealedHeader(header, "1", sealed),)}

    urls = [f"{world.players.url}{name}/{number}" for number in range(len(FORGED))]
    faulty = world.scenario.subscribe(name, urls, each=forged, schedule_s=SCHEDULE_S)

    def repair(_: FaultyRun) -> None:
        assert world.players.seen(name) == {}
        world.scenario.subscribe(name, urls, schedule_s=SCHEDULE_S)

    one = world.run(size, faulty, repair)
    row = one.row("forged headers")
    row.show(record_property)
    assert len(FORGED) >= 200
    assert (row.lost, row.repeated) == (0, 0)
    assert sum(play["answered_twice"] for play in world.players.seen(name).values()) == 0


# Kind of response, and whether it counts as a response: after a declared length, an unclear end is doubted once.
RESPONSES = {
    "gigabyte": "always",
    "gzip-bomb": "always",
    "bad-chunk": "mostly",
    "two-lengths": "never",
    "ten-thousand-headers": "never",
    "endless-interim": "never",
    "endless-headers": "never",
}


@pytest.mark.parametrize("size", SIZES)
def test_endless_responses_use_bounded_memory(world: World, size: Size, record_property: RecordProperty) -> None:
    """Bodies of a GiB, gzip bombs, 10,000 headers and endless 1xx responses neither fill memory nor cause delay."""
    pid = world.scenario.role.pid
    name = f"responses-{size.name}"
    world.side(size)
    before = resident_bytes(pid)
    with hostile_process() as port:
        urls = [f"http://127.0.0.1:{port}/{how}" for how in RESPONSES]
        faulty = world.scenario.subscribe(name, urls, timeout_s=5, schedule_s=SCHEDULE_S)
        failing = {number for number, counts in enumerate(RESPONSES.values()) if counts == "never"}

        def repair(one: FaultyRun) -> None:
            wait_until(lambda: failing <= one.errors().keys(), what="each failing endpoint has failed")
            world.scenario.subscribe(name, [f"http://127.0.0.1:{port}/ok"] * len(urls), schedule_s=SCHEDULE_S)

        one = world.run(size, faulty, repair)
    row = one.row("endless responses")
    row.show(record_property)
    assert (row.lost, row.repeated) == (0, 0)
    assert "always" not in {list(RESPONSES.values())[number] for number in one.errors()}
    assert resident_bytes(pid) - before < FLAT
