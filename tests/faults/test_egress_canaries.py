"""Hostile URLs and names with a real resolver and real sockets, where every address of the world is a canary."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.canaries import PUBLIC, PUBLIC6, SPECIAL
from tests.support.parts import need

pytestmark = pytest.mark.promise(5)


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """What happened in the namespace."""
    need("netns")
    canaries = [sys.executable, "-m", "tests.support.canaries"]
    for unshare in (["unshare", "-n", "-m"], ["unshare", "-r", "-n", "-m"]):
        if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
            done = subprocess.run([*unshare, *canaries], capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            return dict(json.loads(done.stdout))
    raise AssertionError("network namespaces were here a moment ago")


def test_public_names_are_reached(world: dict[str, Any]) -> None:
    """Public names are reached in this namespace: silence in the other tests is significant."""
    assert world["public"] == {"public": "200", "public-again": "200", "flip": "200"}
    assert set(world["public_heard"]) <= {PUBLIC, PUBLIC6}


def test_no_forbidden_address_is_connected_to(world: dict[str, Any]) -> None:
    """Special addresses, alone or among public ones, behind aliases, as literals of any notation, stay silent."""
    assert world["hostile_heard"] == []
    assert len(world["hostile"]) > 4 * len(SPECIAL)
    assert [label for label in world["hostile"] if label.startswith("taken")] == []
    assert {answer.partition(":")[0] for answer in world["hostile"].values()} == {"blocked_address"}


def test_a_name_that_changes_is_connected_to_where_it_was_checked(world: dict[str, Any]) -> None:
    """A name that turns inward after its check is connected to at the checked address, and then refused."""
    assert set(world["flipped_heard"]) <= {PUBLIC}
    assert world["flipped"]["flip"].startswith("blocked_address")


def test_the_socket_refuses_unchecked_addresses(world: dict[str, Any]) -> None:
    """If a name's addresses were never checked, the socket would still refuse every one of them."""
    assert world["unchecked_heard"] == []
    assert len(world["unchecked"]) == len(SPECIAL)
    assert {answer.partition(":")[0] for answer in world["unchecked"].values()} == {"blocked_address"}


def test_only_the_names_of_urls_are_queried(world: dict[str, Any]) -> None:
    """DNS gets queries for the names in URLs and for nothing else, such as search domains."""
    assert all(name.endswith(".example.com") for name in world["asked"])
