"""Counts of the demo and their table."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from deploy.cli.demo_table import table_of
from deploy.demo.tally import Customer, DemoProgress, Tally, customers_of
from schemas.senders.sender import load_senders


def expected_tally(customer: Customer, events: int) -> Tally:
    """Return the tally of a customer if everything works."""
    attempts, delivered = events * customer.attempts, events if customer.succeeds else 0
    return Tally(
        events=events,
        jobs=events,
        delivered=delivered,
        retried=0 if customer.attempts == 1 else events,
        dead=events - delivered,
        attempts=attempts,
        genuine=attempts,
        accepted=delivered,
        latencies_ms=[1234.5] * 10 if delivered else [],
    )


@pytest.fixture
def progress() -> DemoProgress:
    """Return a demo that ended well."""
    progress = DemoProgress(customers_of(load_senders()))
    progress.tallies = {customer.id: expected_tally(customer, 12_345) for customer in progress.customers}
    return progress


def test_every_sender_has_a_healthy_endpoint() -> None:
    """Each sender has one healthy endpoint; one sender also has two that fail."""
    customers = customers_of(load_senders())
    assert [customer.sender.name for customer in customers if customer.endpoint == "healthy"] == list(load_senders())
    others = [customer for customer in customers if customer.endpoint != "healthy"]
    assert [customer.endpoint for customer in others] == ["twice 503", "always 500"]
    assert len({customer.sender.name for customer in others}) == 1
    assert len({customer.id for customer in customers}) == len(customers)


def test_complete_demo_has_no_problems(progress: DemoProgress) -> None:
    """A demo in which everything arrived has no problems, with any schedule of the senders."""
    assert progress.problems() == []
    assert progress.waiting == 0


@pytest.mark.parametrize(
    "figure",
    ["events", "jobs", "delivered", "retried", "dead", "attempts", "genuine", "refused", "accepted", "repeated"],
)
def test_every_figure_is_checked(progress: DemoProgress, figure: str) -> None:
    """Each figure of each endpoint that is one too high is a problem that names the endpoint."""
    for customer in progress.customers:
        tally = progress.tallies[customer.id]
        setattr(tally, figure, getattr(tally, figure) + 1)
        problems = progress.problems()
        assert problems, (customer.id, figure)
        assert all(problem.startswith(f"{customer.id}: ") for problem in problems)
        setattr(tally, figure, getattr(tally, figure) - 1)


@pytest.mark.parametrize("closing", [False, True])
def test_table_fits_80_columns(progress: DemoProgress, *, closing: bool) -> None:
    """The table has a row for each endpoint and their sum, and cuts nothing off at 80 columns."""
    for tally in progress.tallies.values():
        tally.events = 499
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(table_of(progress, "caption", closing=closing))
    lines = capture.get().splitlines()
    assert all(len(line.rstrip()) <= 80 and "…" not in line for line in lines)
    rows = [line.split()[0] for line in lines if line.split()]
    assert [name for name in load_senders() if name not in rows] == []
    assert {"twice", "always", "all"} <= set(rows)
