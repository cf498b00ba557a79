"""Every operation with every kind of key, and with ids of others: nothing is read, written or hinted at.

Each test compares whole answers. Of two answers only the time and the id of the request may differ.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from schemas.keys.text import KeyText, generate_key, parse_key
from tests.support.api import Answer, ApiClient, key_of
from tests.support.api_requests import EACH, EACH_OF_ONE, NOBODY, OTHER, REQUESTS, Request
from tests.support.served_api import APIS, ServedApi
from tests.support.tools import Commands

ACME, GLOBEX = "access-acme", "access-globex"
LISTS = {request.flavour: request for request in REQUESTS if request.name == "list"}
CREATIONS = {request.flavour: request for request in REQUESTS if request.name == "create"}
DELETIONS = {request.flavour: request for request in REQUESTS if request.name == "delete"}
# Headers whose values differ from answer to answer.
OWN = ("date", "x-request-id")


class Seen(NamedTuple):
    """What an answer shows, in the order of its headers."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def seen(answer: Answer) -> Seen:
    """Return an answer without its time and the id of the request."""
    headers = tuple((name, "" if name in OWN else value) for name, value in answer.headers.items())
    return Seen(answer.status, headers, answer.body.replace(answer.headers["x-request-id"].encode(), b""))


class World:
    """Two customers with a webhook of each product, and API keys of every kind."""

    def __init__(self, api: ServedApi, signpost: Commands) -> None:
        self.api = api
        self.signpost = signpost
        self._client = ApiClient(api.url, None, flavour="")
        pipeline = api.pipeline
        self.keys = {(who, name): key_of(pipeline, name, who).text for who in (ACME, GLOBEX) for name in APIS}
        self.read_only = {name: key_of(pipeline, name, ACME, "read").text for name in APIS}
        self.of_another_sender = key_of(pipeline, "zenoo", ACME).text
        self.expired = {name: self._created(name, "--expires", "1ms") for name in APIS}
        self.revoked = {name: self._created(name) for name in APIS}
        self._revoke()
        self.ids = {whose: self._create(*whose) for whose in self.keys}
        self.deleted = {name: self._create(ACME, name) for name in APIS}
        for name, id_ in self.deleted.items():
            deleted = self.send(DELETIONS[name], self.header_of(DELETIONS[name]), id_)
            assert deleted.status in {200, 204}
        self._before = self._state()

    def _created(self, sender: str, *options: str) -> str:
        made = self.signpost("keys", "create", "--sender", sender, "--customer", ACME, "--json", *options)
        assert made.code == 0, made.err
        key: str = json.loads(made.out)["key"]
        return key

    def _revoke(self) -> None:
        """Revoke keys that are valid until then."""
        for name, key in self.revoked.items():
            assert self.send(LISTS[name], LISTS[name].headers(key)).status == 200
        assert self.signpost("keys", "revoke", *self.revoked.values()).code == 0

    def _create(self, customer: str, flavour: str) -> str:
        request = CREATIONS[flavour]
        made = self.send(request, self.header_of(request, customer))
        assert made.status == 201, made.body
        id_: str = made.json["id"]
        return id_

    def send(self, request: Request, headers: dict[str, str], id_: str = NOBODY, body: bytes | None = None) -> Answer:
        """Send a request for a webhook; `body` in place of its valid body."""
        return self._client.request(request.method, request.path_of(id_), body or request.content or None, headers)

    def header_of(self, request: Request, customer: str = ACME) -> dict[str, str]:
        """Return the header with the valid key of a customer."""
        return request.headers(self.keys[customer, request.flavour])

    def _state(self) -> Any:
        """Return what a refused request must not change: topics, the lists of all customers, what was sent."""
        names = self.api.pipeline.names
        topics = (names.subscriptions, names.operations, names.tests, names.api_keys)
        lists = [self.send(LISTS[name], self.header_of(LISTS[name], who)).body for who, name in self.keys]
        return [self.api.pipeline.size(topic) for topic in topics], lists, len(self.api.endpoint.requests)

    def is_untouched(self) -> bool:
        """Return whether nothing was written or sent since the beginning."""
        assert self._state() == self._before
        return True


@pytest.fixture(scope="module")
def world(api: ServedApi) -> Iterator[World]:
    """The customers and keys of all tests of this file, none of which changes anything."""
    with pytest.MonkeyPatch.context() as environment:
        yield World(api, Commands(api.pipeline.env(), environment))


def wrong_keys(world: World, request: Request) -> dict[str, dict[str, str]]:
    """Return headers without a valid key of the product, by what is wrong with them."""
    other = OTHER[request.is_onboarding]
    key = world.keys[ACME, request.flavour]
    known = parse_key(key)
    assert known is not None
    texts = {
        "empty": "",
        "no key at all": "secret",
        "only the prefix": "spk_",
        "cut": key[:-1],
        "longer": f"{key}x",
        "a changed character": key[:-1] + ("A" if key[-1] != "A" else "B"),
        "upper case": key.upper(),
        "two words": f"{key} x",
        "endless": "a" * 20_000,
        "not ASCII": "clé",
        "unknown": generate_key(os.urandom).text(),
        "known id with another secret": KeyText(known.id, os.urandom(32)).text(),
        "revoked": world.revoked[request.flavour],
        "expired": world.expired[request.flavour],
        "of the other product": world.keys[ACME, other.flavour],
        "of another sender": world.of_another_sender,
    }
    return {what: request.headers(text) for what, text in texts.items()} | {
        "in the header of the other product": other.headers(key),
        "without a scheme": {"Authorization": key},
        "another scheme": {"Authorization": f"Basic {key}"},
        "a comma after the scheme": {"Authorization": f"Bearer,{key}"},
        "in a cookie": {"Cookie": f"session={key}; api_key={key}"},
    }


def test_keys_of_this_file_are_what_they_are_called(world: World) -> None:
    """The list of keys has the state of each key that was revoked or has expired."""
    states = {key["id"]: key["state"] for key in json.loads(world.signpost("keys", "list", "--json").out)}
    for wanted, keys in (("revoked", world.revoked), ("expired", world.expired), ("active", world.read_only)):
        ids = [found.id for key in keys.values() if (found := parse_key(key)) is not None]
        assert [states[id_] for id_ in ids] == [wanted] * len(APIS)


@pytest.mark.decision("O1", "O2", "O3", "O6", "D10", "D12")
@EACH
def test_request_without_a_valid_key_of_the_flavour_is_refused(world: World, request_: Request) -> None:
    """Whatever is wrong with the key, the answer is the same 401, and nothing is read, written or sent."""
    without = world.send(request_, {})
    expected = seen(without)
    assert without.status == 401
    assert list(without.json) == (["error", "code", "request_id"] if request_.is_onboarding else ["error"])
    assert without.headers["www-authenticate"] == ("Bearer" if request_.is_onboarding else "X-API-KEY")

    id_ = world.ids[ACME, request_.flavour]
    found = {what: seen(world.send(request_, headers, id_)) for what, headers in wrong_keys(world, request_).items()}
    if request_.content:
        found["no key and a wrong body"] = seen(world.send(request_, {}, id_, b"{"))
    assert found == dict.fromkeys(found, expected)
    assert world.is_untouched()


@EACH
def test_read_only_key_reads(world: World, request_: Request) -> None:
    """An operation that writes, or sends something, is refused with 403 whatever its id; the others work."""
    headers = request_.headers(world.read_only[request_.flavour])
    own = world.send(request_, headers, world.ids[ACME, request_.flavour])
    assert own.status == (403 if request_.writes else 200)
    if request_.writes:
        ids = (NOBODY, world.ids[GLOBEX, request_.flavour])
        assert [seen(world.send(request_, headers, id_)) for id_ in ids] == [seen(own)] * 2
    if request_.writes and request_.is_onboarding:
        assert own.json["code"] == "permission_denied"
    assert world.is_untouched()


@pytest.mark.decision("O4", "D17")
@EACH_OF_ONE
@pytest.mark.parametrize("body", [None, b"{"], ids=["valid", "not-json"])
def test_webhook_of_another_customer_is_unknown(world: World, request_: Request, body: bytes | None) -> None:
    """The answer is byte for byte that of an id which does not exist, and a wrong body does not tell them apart."""
    flavour, other = request_.flavour, OTHER[request_.is_onboarding].flavour
    expected = seen(world.send(request_, world.header_of(request_), NOBODY, body))
    assert expected.status == 404
    of_globex = world.ids[GLOBEX, flavour]
    cases = {
        "another customer's id": (ACME, of_globex),
        "another customer's key": (GLOBEX, world.ids[ACME, flavour]),
        "own id of the other product": (ACME, world.ids[ACME, other]),
        "another customer's id of the other product": (ACME, world.ids[GLOBEX, other]),
        "deleted": (ACME, world.deleted[flavour]),
    }
    found = {
        what: seen(world.send(request_, world.header_of(request_, customer), id_, body))
        for what, (customer, id_) in cases.items()
    }
    operators = world.header_of(request_) | {"X-Signpost-Customer": GLOBEX}
    found["with the header of operators"] = seen(world.send(request_, operators, of_globex, body))
    assert found == dict.fromkeys(found, expected)
    assert world.is_untouched()


@pytest.mark.parametrize("flavour", APIS)
def test_list_has_the_webhooks_of_the_customer_alone(world: World, flavour: str) -> None:
    """Neither another customer's webhooks nor those of the other product are in it, whatever the headers say."""
    request = LISTS[flavour]
    every_id = {*world.ids.values(), *world.deleted.values()}
    for customer in (ACME, GLOBEX):
        for more in ({}, {"X-Signpost-Customer": GLOBEX}):
            text = world.send(request, world.header_of(request, customer) | more).body.decode()
            assert {id_ for id_ in every_id if id_ in text} == {world.ids[customer, flavour]}
