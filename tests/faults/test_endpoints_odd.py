"""Endpoints that are odd in each of many ways, beside healthy ones: nothing is lost, nothing is sent where it may not.

Their TLS is wrong, DNS points them elsewhere, their subscriptions forge requests, their answers do not end. A delivery
process serves them and healthy endpoints until they are mended; then all of theirs is delivered.
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
from tests.support.odd import Beside, Size, World
from tests.support.pipeline import Pipeline
from tests.support.players import Players
from tests.support.retries import come_back, outage
from tests.support.scenario import Scenario
from tests.support.table import RecordProperty, Row
from tests.support.waiting import wait_until
from tests.support.windows import Windows
from tests.unit.schemas.test_header_injections import NAMES, VALUES

# Retries soon enough for a test, in delay topics that are there; enough of them that nothing is given up.
SCHEDULE_S = (1,) * 30
PUBLIC, INSIDE = "127.0.0.1", "127.0.0.2"
FLAT = 48 * MIB
IN_FLIGHT = 16


SHORT = Size("short", 100, 1, Windows(2, 1, 1, 200, 0, 0, 400))
LONG = Size("long", 1_000, 10, Windows(2, 4, 6, 500, 0, 0, 600))
SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
pytestmark = [pytest.mark.scenario, pytest.mark.promise(4, 5)]


@pytest.fixture(scope="module")
def world(module_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    zone: dict[str, list[str]] = {}
    dns = DnsServer(lambda name, _asked: zone.get(name, [PUBLIC]))
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
def test_faults_of_tls(world: World, size: Size, record_property: RecordProperty) -> None:
    """Whose certificate, version or handshake is wrong gets nothing, and everything once it is right."""
    hosts = [f"{fault}.{size.name}.example.com" for fault in TLS_FAULTS]
    receivers = [_tls_receiver(world.authority, *pair) for pair in zip(TLS_FAULTS, hosts, strict=True)]
    urls = [f"https://{host}:{receiver.port}/ok" for host, receiver in zip(hosts, receivers, strict=True)]
    faulty = world.scenario.subscribe(f"tls-{size.name}", urls, timeout_s=2, schedule_s=SCHEDULE_S)

    def mend(one: Beside) -> None:
        wait_until(lambda: len(one.errors()) == len(TLS_FAULTS), what="each has failed")
        assert [receiver.requests for receiver in receivers] == [[]] * len(receivers)
        for host, receiver in zip(hosts, receivers, strict=True):
            receiver.present(world.authority.server(host))
            receiver.handshake.set()

    one = world.beside(size, faulty, mend)
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
def test_retries_that_an_outage_leaves(world: World, jobs: int, step_s: int, record_property: RecordProperty) -> None:
    """They come back as fast as the endpoint's limit lets them, none of them early, though they are due together."""
    batch = outage(world.scenario, f"outage-{jobs}", jobs, step_s=step_s, deadline_s=600)
    ends = world.scenario.ends
    found = come_back(ends.odd(batch))
    Row(f"retries: {found}", jobs, jobs, ends.missing(batch), ends.again(batch)).show(record_property)
    assert (found.retries, found.early) == (jobs, 0)
    assert found.most_at_once <= IN_FLIGHT
    assert (ends.missing(batch), ends.again(batch)) == (0, 0)


@contextlib.contextmanager
def canaries(port: int) -> Iterator[list[str]]:
    """Listen where nobody may call; gives who was called, once it is over."""
    heard: list[str] = []
    with contextlib.ExitStack() as closing:
        listening = []
        for family, address in ((socket.AF_INET, INSIDE), (socket.AF_INET6, "::1")):
            canary = closing.enter_context(socket.socket(family))
            canary.bind((address, port))
            canary.listen()
            canary.setblocking(False)
            listening.append((canary, address))
        yield heard
        for canary, address in listening:
            with contextlib.suppress(BlockingIOError):
                canary.accept()
                heard.append(address)


def turns_at_once(_: list[str], first: int | str, then: list[str], _then: int | str) -> bool:
    """Whether it is known soon that DNS says another thing: that a name has no address c-ares keeps for half a minute.

    In short test_dns.py has those, by a clock of its own.
    """
    return first != "dns" and not any(":" in said for said in then)


@pytest.mark.parametrize("size", SIZES)
def test_dns_that_points_elsewhere(world: World, size: Size, record_property: RecordProperty) -> None:
    """Whatever DNS says of a name first, and then, nothing inside is reached, and nobody held up."""
    receiver = HostileReceiver()
    said = [case for case in DNS_CASES.values() if size is LONG or turns_at_once(*case)]
    names = [f"{number}.{size.name}.example.com" for number in range(len(said))]
    urls = [f"http://{name}:{receiver.port}/ok-and-close" for name in names]
    faulty = world.scenario.subscribe(f"dns-{size.name}", urls, timeout_s=2, schedule_s=SCHEDULE_S)

    def shown(one: Beside, which: int) -> bool:
        """Whether each name has failed as it has to, for what DNS says of it first or then."""
        errors = one.errors()
        return all(not isinstance(case[which], str) or case[which] in errors[n] for n, case in enumerate(said))

    def turn(one: Beside) -> None:
        if one.batches:
            wait_until(lambda: shown(one, 1), 120, what="each was judged by what DNS said first")
        for name, case in zip(names, said, strict=True):
            world.zone[name] = case[2] if one.batches else case[0]

    def mend(one: Beside) -> None:
        wait_until(lambda: shown(one, 3), 120, what="each was judged by what DNS said then")
        world.zone.clear()

    with canaries(receiver.port) as heard:
        one = world.beside(size, faulty, mend, turn)
    row = one.row("dns", receiver.requests)
    row.show(record_property)
    receiver.close()
    assert heard == []
    assert (row.lost, row.repeated) == (0, 0)


def _is_text(*parts: str) -> bool:
    with contextlib.suppress(UnicodeEncodeError):
        return bool("".join(parts).encode())
    return False


FORGED = [(name, "a") for name in NAMES] + [("X-Own", value) for value in VALUES]
FORGED = [pair for pair in FORGED if not is_sendable(*pair) and _is_text(*pair)]


@pytest.mark.parametrize("size", SIZES)
def test_two_hundred_forged_headers(world: World, size: Size, record_property: RecordProperty) -> None:
    """Records with headers that would forge a request, whoever wrote them, send nothing until they are mended."""
    name, topic = f"forged-{size.name}", world.scenario.pipeline.names.subscriptions

    def forged(id_: str, number: int) -> dict[str, object]:
        header, value = FORGED[number]
        place = header_place(header, "1")
        sealed = world.scenario.sealer.seal(value, topic=topic, subscription_id=id_, secret_id=place)
        return {"headers": (SealedHeader(header, "1", sealed),)}

    urls = [f"{world.players.url}{name}/{number}" for number in range(len(FORGED))]
    faulty = world.scenario.subscribe(name, urls, each=forged, schedule_s=SCHEDULE_S)

    def mend(_: Beside) -> None:
        assert world.players.seen(name) == {}
        world.scenario.subscribe(name, urls, schedule_s=SCHEDULE_S)

    one = world.beside(size, faulty, mend)
    row = one.row("forged headers")
    row.show(record_property)
    assert len(FORGED) >= 200
    assert (row.lost, row.repeated) == (0, 0)
    assert sum(play["answered_twice"] for play in world.players.seen(name).values()) == 0


# How they answer, and whether that is an answer: who declared lengths before is doubted once.
ANSWERS = {
    "gigabyte": "always",
    "gzip-bomb": "always",
    "bad-chunk": "mostly",
    "two-lengths": "never",
    "ten-thousand-headers": "never",
    "endless-interim": "never",
    "endless-headers": "never",
}


@pytest.mark.parametrize("size", SIZES)
def test_answers_without_end(world: World, size: Size, record_property: RecordProperty) -> None:
    """Bodies of a gibibyte, gzip bombs, 10,000 headers, endless 1xx and the like fill no memory and hold up nobody."""
    pid, name = world.scenario.role.pid, f"answers-{size.name}"
    world.side(size)
    before = resident_bytes(pid)
    with hostile_process() as port:
        urls = [f"http://127.0.0.1:{port}/{how}" for how in ANSWERS]
        faulty = world.scenario.subscribe(name, urls, timeout_s=5, schedule_s=SCHEDULE_S)
        failing = {number for number, answers in enumerate(ANSWERS.values()) if answers == "never"}

        def mend(one: Beside) -> None:
            wait_until(lambda: failing <= one.errors().keys(), what="each that fails has failed")
            world.scenario.subscribe(name, [f"http://127.0.0.1:{port}/ok"] * len(urls), schedule_s=SCHEDULE_S)

        one = world.beside(size, faulty, mend)
    row = one.row("answers without end")
    row.show(record_property)
    assert (row.lost, row.repeated) == (0, 0)
    assert "always" not in {list(ANSWERS.values())[number] for number in one.errors()}
    assert resident_bytes(pid) - before < FLAT
