"""Timeouts of subscriptions that are too long for the drain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from consumers.delivery.long_timeouts import LongTimeouts
from consumers.subscriptions.state import Entry
from deploy.config.drain import check_drain_timeout
from schemas.catalog.errors import SettingsError
from schemas.senders.sender import load_senders
from tests.support.settings import load_settings
from tests.unit.delivery.test_endpoint import SIGNED, endpoint

pytestmark = pytest.mark.promise(2)


def entry(timeout_s: int | None) -> Entry:
    return Entry(endpoint(replace(SIGNED, timeout_s=timeout_s)), 0, 0)


@pytest.mark.parametrize("timeout_s", [None, 1, 30])
def test_timeouts_that_fit_are_accepted(timeout_s):
    """A timeout of at most 5 s less than the drain fits; so does the sender's."""
    timeouts = LongTimeouts(35_000)
    timeouts.on_change("a", entry(timeout_s))
    timeouts.check_start()


def test_start_is_refused_with_the_longest_timeout():
    """The error names the subscription with the longest timeout, how many more there are, and what the drain needs."""
    timeouts = LongTimeouts(35_000)
    for id_, timeout_s in (("a", 31), ("b", 60), ("c", 30)):
        timeouts.on_change(id_, entry(timeout_s))
    with pytest.raises(SettingsError, match=r"35s, but subscription b \(and 1 more\) has a timeout of 60s: .* to 65s"):
        timeouts.check_start()


@pytest.mark.parametrize("later", [30, None])
def test_only_the_last_record_counts(later):
    """A subscription that was shortened or deleted does not count."""
    timeouts = LongTimeouts(35_000)
    timeouts.on_change("a", entry(60))
    timeouts.on_change("a", None if later is None else entry(later))
    timeouts.check_start()


def test_longer_timeout_after_the_start_is_logged_once():
    """A running process does not end because of a record; it logs each longer timeout once."""
    timeouts = LongTimeouts(35_000)
    timeouts.check_start()
    with capture_logs() as logs:
        for _ in range(2):
            timeouts.on_change("a", entry(60))
    assert [(log["event"], log["subscription"], log["timeout_ms"]) for log in logs] == [
        ("subscription.drain_exceeded", "a", 60_000)
    ]


@pytest.mark.parametrize(("drain", "good"), [("34999ms", False), ("35s", True), ("1s", False), ("1h", True)])
def test_drain_timeout_has_to_cover_the_senders(drain, good):
    """`drain_timeout` is at least the longest timeout of a loaded sender and 5 s."""
    settings = load_settings(drain_timeout=drain)
    if good:
        check_drain_timeout(settings, load_senders())
        return
    with pytest.raises(SettingsError, match="set drain_timeout to 35s or more; otherwise requests that are open"):
        check_drain_timeout(settings, load_senders())
