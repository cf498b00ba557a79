"""Bounded staleness: when a table may be used."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumers.subscriptions.staleness import GRACE_MS, MAX_STALENESS_MS, RECEIVES_MS, SILENT_MS, Staleness

pytestmark = pytest.mark.promise(7)

END = {0: 10}


def replay(*steps: tuple[str, int]) -> Staleness:
    """Replay steps; an "answered late" responds to the request of 300 ms before."""
    staleness = Staleness()
    for what, at_ms in steps:
        match what:
            case "turned":
                staleness.is_due(at_ms)
            case "asked":
                staleness.is_due(at_ms)
                staleness.on_request(at_ms)
            case "answered":
                staleness.on_response(at_ms, END, at_ms)
            case "answered late":
                staleness.on_response(at_ms - 300, END, at_ms)
            case "failed":
                staleness.on_error(at_ms)
            case "passed":
                staleness.on_advance(END)
            case "behind":
                staleness.on_advance({0: 9})
    return staleness


def test_consumer_receives_for_a_second_after_a_record() -> None:
    """Later it is unknown whether the brokers respond to it."""
    staleness = Staleness()
    assert not staleness.receives(0)
    staleness.on_receive(1_000)
    assert staleness.receives(1_000 + RECEIVES_MS)
    assert not staleness.receives(1_001 + RECEIVES_MS)


VERIFIED = (("asked", 0), ("answered", 0), ("passed", 0))
SILENCE = tuple(("asked", at_ms) for at_ms in range(100, 1200, 100))
TURNS = tuple(("turned", at_ms) for at_ms in range(1200, 7000, 100))
SLOWNESS = tuple(
    step
    for at_ms in range(100, 2000, 100)
    for step in ((("answered late", at_ms),) if at_ms >= 400 else ()) + (("passed", at_ms), ("asked", at_ms))
)


@pytest.mark.parametrize(
    ("steps", "now_ms", "is_fresh"),
    [
        pytest.param((), 0, False, id="no request"),
        pytest.param((("asked", 0),), 1500, False, id="a broker that never responded is not trusted"),
        pytest.param((("asked", 0), ("answered", 0)), 10, False, id="answered, not read"),
        pytest.param((("asked", 0), ("answered", 0), ("behind", 0)), 10, False, id="one record is missing"),
        pytest.param(VERIFIED, 0, True, id="read to the end"),
        pytest.param(VERIFIED, 200, True, id="200 ms ago"),
        pytest.param(VERIFIED, 201, False, id="201 ms ago"),
        pytest.param((*VERIFIED, ("asked", 100), ("answered", 100), ("passed", 0)), 300, True, id="a second request"),
        pytest.param((*VERIFIED, ("asked", 100)), 300, False, id="a late response is awaited"),
        pytest.param((*VERIFIED, *SILENCE), 1099, False, id="not yet a second of silence"),
        pytest.param((*VERIFIED, *SILENCE), 1100, True, id="a silent broker is trusted"),
        pytest.param((*VERIFIED, *SILENCE, *TURNS[:38]), 5000, True, id="for 5 s"),
        pytest.param((*VERIFIED, *SILENCE, *TURNS[:38]), 5001, False, id="and no longer"),
        pytest.param(
            (*VERIFIED, *(step for at in range(100, 1200, 100) for step in (("asked", at), ("failed", at)))),
            1150,
            True,
            id="failed requests are silence",
        ),
        pytest.param(
            (*VERIFIED, ("asked", 100), ("answered", 100), ("behind", 0), *((what, at + 100) for what, at in SILENCE)),
            1300,
            False,
            id="behind when the broker became silent",
        ),
        pytest.param((*VERIFIED, *SLOWNESS[:24]), 1050, False, id="late responses verify nothing"),
        pytest.param((*VERIFIED, *SLOWNESS), 1900, True, id="unless that lasts: the broker is slow"),
        pytest.param(
            (*VERIFIED, *SLOWNESS, ("answered late", 2000), ("behind", 0)), 2000, False, id="slow, with a change"
        ),
        pytest.param((*VERIFIED, *SLOWNESS, *TURNS[8:54]), 6601, False, id="slow, and then silent for 5 s"),
        pytest.param((*VERIFIED, ("asked", 100), ("asked", 3000)), 3050, False, id="a stall is not silence"),
        pytest.param((*VERIFIED, ("asked", 100)), 3050, False, id="a stall within a turn is not silence"),
        pytest.param(
            (*VERIFIED, *SILENCE, ("answered", 1100), ("behind", 0)), 1250, False, id="the broker is back with a change"
        ),
        pytest.param(
            (*VERIFIED, *SILENCE, ("answered", 1100), ("passed", 0)),
            1250,
            True,
            id="the broker is back without a change",
        ),
        pytest.param(
            (("asked", 0), ("asked", 100), ("answered", 100), ("answered", 0), ("passed", 0)),
            290,
            True,
            id="an overtaken response is ignored",
        ),
    ],
)
def test_table_is_fresh_within_its_bound(steps, now_ms, is_fresh):
    """A table is fresh until 200 ms after requesting an end that it reached, 5 s if brokers are silent or slow."""
    assert replay(*steps).is_fresh(now_ms) is is_fresh


def test_table_is_verified_once_it_reached_an_end():
    """A table is verified from the first end that it passes, however old that is."""
    assert not replay(("asked", 0), ("answered", 0)).verified
    assert replay(*VERIFIED).verified


def test_requests_are_due_every_100_ms():
    """A slow response does not delay the next request."""
    staleness = replay(("asked", 0))
    assert [at_ms for at_ms in (0, 50, 99, 100, 150) if staleness.is_due(at_ms)] == [100, 150]


def test_slow_broker_gets_no_more_requests_than_it_answers():
    """At most two requests are open, half a response time apart, for any response time."""
    staleness = replay(("asked", 0), ("asked", 100))
    assert not staleness.is_due(300)
    staleness.on_response(0, END, 400)
    assert staleness.is_due(401)
    staleness.on_request(401)
    staleness.on_response(100, END, 600)
    staleness.on_response(401, END, 801)
    assert [at_ms for at_ms in (550, 600, 601, 650) if staleness.is_due(at_ms)] == [601, 650]
    staleness.on_request(801)
    staleness.on_error(801)
    assert staleness.is_due(1_001)


@pytest.mark.parametrize(
    ("response_ms", "one_by_one"), [(250, False), (1_000, False), (3_000, False), (250, True), (1_500, True)]
)
def test_table_stays_fresh_with_a_slow_broker(response_ms, one_by_one):
    """A table stays fresh with a broker that is distant or handles requests one by one."""
    staleness, responses, free_ms = replay(*VERIFIED), [], 0
    for now_ms in range(5, 60_000, 5):
        while responses and responses[0][0] <= now_ms:
            staleness.on_response(responses.pop(0)[1], END, now_ms)
        staleness.on_advance(END)
        if staleness.is_due(now_ms):
            staleness.on_request(now_ms)
            free_ms = max(now_ms, free_ms if one_by_one else 0) + response_ms
            responses.append((free_ms, now_ms))
        assert now_ms < 9_000 or staleness.is_fresh(now_ms), f"not after {now_ms} ms"


def test_long_initial_read_reaches_its_first_end():
    """After a long initial read with a response every 100 ms, the table is verified at the first of these ends."""
    staleness = Staleness()
    for number in range(1000):
        staleness.on_request(number * 100)
        staleness.on_response(number * 100, {0: number + 1}, number * 100)
        staleness.on_advance({0: 0})
    staleness.on_advance({0: 1})
    assert staleness.verified


@dataclass
class Request:
    """A request for the end of the log, and the end when the broker looked."""

    asked_at_ms: int
    end: int | None = None
    answered_at_ms: int = 0


class StalenessModel(RuleBasedStateMachine):
    """A fresh table has read every acknowledged change, with responses late, in any order, or missing."""

    @initialize()
    def begin(self) -> None:
        self.now_ms = 1_000
        self.staleness = Staleness()
        self.ends = [(0, 0)]  # time, and the end of the log from then on
        self.position = 0
        self.open: list[Request] = []
        self.answered: list[Request] = []
        self.reached: list[Request] = []  # responses whose end the table has passed
        self.stopped_ms: int | None = None  # the broker is silent from then on

    def _end(self) -> int:
        return self.ends[-1][1]

    @rule(ms=st.sampled_from([1, 20, 60, 100, 100, 300, 1_100, 4_000]), is_running=st.booleans())
    def time_passes(self, ms: int, is_running: bool) -> None:
        """A running loop sends requests that are due; a stalled one does not."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms = min(until_ms, self.now_ms + (20 if is_running else ms))
            if is_running and self.staleness.is_due(self.now_ms):
                self.staleness.on_request(self.now_ms)
                self.open.append(Request(self.now_ms))

    @precondition(lambda self: self.stopped_ms is None)
    @rule()
    def change_is_appended(self) -> None:
        self.ends.append((self.now_ms, self._end() + 1))

    @precondition(lambda self: self.stopped_ms is None and self.open)
    @rule(index=st.integers(0, 20), at_once=st.booleans())
    def broker_responds(self, index: int, at_once: bool) -> None:
        """The response has the current end, or the end at the time of the request."""
        request = self.open.pop(index % len(self.open))
        request.end = self._end() if at_once else self._end_at(request.asked_at_ms)
        request.answered_at_ms = self.now_ms
        self.staleness.on_response(request.asked_at_ms, {0: request.end}, self.now_ms)
        self.answered.append(request)
        self._advance()

    @precondition(lambda self: self.open)
    @rule(index=st.integers(0, 20))
    def request_fails(self, index: int) -> None:
        self.staleness.on_error(self.open.pop(index % len(self.open)).asked_at_ms)

    @rule(share=st.sampled_from([0.5, 1.0, 1.0]))
    def table_reads(self, share: float) -> None:
        self.position += round((self._end() - self.position) * share)
        self._advance()

    @rule()
    def broker_stops_or_resumes(self) -> None:
        self.stopped_ms = self.now_ms if self.stopped_ms is None else None

    def _advance(self) -> None:
        self.staleness.on_advance({0: self.position})
        self.reached += [q for q in self.answered if q.end is not None and q.end <= self.position]

    def _end_at(self, ms: int) -> int:
        return max(end for since, end in self.ends if since <= ms)

    @invariant()
    def fresh_table_has_passed_a_recent_end(self) -> None:
        """Its age is at most 200 ms, or 5 s without a response within 200 ms to a request of the last second."""
        if not self.staleness.is_fresh(self.now_ms):
            return
        asked_at_ms = max(request.asked_at_ms for request in self.reached)
        if self.now_ms - asked_at_ms > MAX_STALENESS_MS:
            assert self.now_ms - asked_at_ms <= GRACE_MS
            since_ms = self.now_ms - SILENT_MS
            in_time = [q for q in self.answered if q.answered_at_ms - q.asked_at_ms <= MAX_STALENESS_MS]
            assert not [q for q in in_time if q.asked_at_ms > since_ms]

    @invariant()
    def acknowledged_changes_are_read(self) -> None:
        """While the broker responds, a fresh table has read every change that was readable more than 200 ms ago.

        The end of a request may lack a change of the same millisecond; changes are acknowledged after 250 ms.
        """
        if self.staleness.is_fresh(self.now_ms):
            recent = [q for q in self.reached if q.asked_at_ms >= self.now_ms - MAX_STALENESS_MS]
            if recent:
                assert self.position >= self._end_at(self.now_ms - MAX_STALENESS_MS - 1)
            else:
                assert not [q for q in self.answered if q.end is not None and q.end > self.position]


TestStalenessModel = StalenessModel.TestCase
TestStalenessModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_age_counts_from_the_last_verified_end_or_from_the_begin() -> None:
    """A table that was never complete gets older from its begin on, any other from the last request that it reached."""
    never = Staleness()
    assert never.age_ms(50) == 0
    never.begin(100)
    never.begin(900)
    assert never.age_ms(1_100) == 1_000
    assert replay(*VERIFIED).age_ms(150) == 150
    assert replay(*VERIFIED, ("asked", 100), ("answered", 100), ("behind", 100)).age_ms(150) == 150
    assert replay(*VERIFIED, ("asked", 100), ("answered", 100), ("passed", 100)).age_ms(150) == 50
