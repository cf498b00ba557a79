"""When a role stops, and when it restarts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from deploy.cli.role import stopping_of
from schemas.catalog.errors import RestartRequired

pytestmark = pytest.mark.promise(1)

STUCK = cast("Any", SimpleNamespace(are_stuck=lambda _now_s, *, unanswered: unanswered))


def test_role_with_stuck_clients_restarts() -> None:
    """A restart is due only if the brokers do not respond to the role."""
    assert not stopping_of(lambda: False, STUCK, cast("Any", SimpleNamespace(unanswered=False)))()
    with pytest.raises(RestartRequired):
        stopping_of(lambda: False, STUCK, cast("Any", SimpleNamespace(unanswered=True)))()


def test_role_that_has_to_stop_drains_in_place_of_a_restart() -> None:
    """A signal has precedence: the role commits what it can, and ends."""
    assert stopping_of(lambda: True, STUCK, cast("Any", SimpleNamespace(unanswered=True)))()
