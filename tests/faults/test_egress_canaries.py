"""Hostile URLs and names with a real resolver and real sockets, in a namespace where every address is a canary."""

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
    """Return the report of tests/support/canaries.py."""
    need("netns")
    canaries = [sys.executable, "-m", "tests.support.canaries"]
    for unshare in (["unshare", "-n", "-m"], ["unshare", "-r", "-n", "-m"]):
        if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
            done = subprocess.run([*unshare, *canaries], capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            return dict(json.loads(done.stdout))
    raise AssertionError("network namespaces were here a moment ago")


def test_public_names_are_reached(world: dict[str, Any]) -> None:
    """Public names are reached in this namespace, so the silence of canaries in the other tests is significant."""
    assert world["public"] == {"public": "200", "public-again": "200", "flip": "200"}
    assert set(world["public_connected"]) <= {PUBLIC, PUBLIC6}


def test_client_connects_to_no_forbidden_address(world: dict[str, Any]) -> None:
    """No special address gets a connection: alone, among public ones, behind an alias, or as any kind of literal."""
    assert world["hostile_connected"] == []
    assert len(world["hostile"]) > 4 * len(SPECIAL)
    assert [label for label in world["hostile"] if label.startswith("accepted")] == []
    assert {result.partition(":")[0] for result in world["hostile"].values()} == {"blocked_address"}


def test_rebound_name_is_refused(world: dict[str, Any]) -> None:
    """A name that changes to an internal address gets connections at its checked address only, and is then refused."""
    assert set(world["flipped_connected"]) <= {PUBLIC}
    assert world["flipped"]["flip"].startswith("blocked_address")


def test_socket_refuses_unchecked_addresses(world: dict[str, Any]) -> None:
    """The socket refuses addresses that the resolver did not check."""
    assert world["unchecked_connected"] == []
    assert len(world["unchecked"]) == len(SPECIAL)
    assert {result.partition(":")[0] for result in world["unchecked"].values()} == {"blocked_address"}


def test_only_the_names_of_urls_are_queried(world: dict[str, Any]) -> None:
    """DNS gets queries for the names in URLs and for nothing else, such as search domains."""
    assert all(name.endswith(".example.com") for name in world["queried"])
