"""Totals of many requests from one query, and a database that hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from consumers.ledger.rows import Totals
from consumers.ledger.writer import DatabaseAway
from deploy.roles import api_ports
from deploy.roles.api_ports import GatheredTotals
from producers.api.ports import LedgerAway


def totals(delivered: int) -> Totals:
    return Totals("acme", "diligent", delivered=delivered)


def test_requests_share_queries_and_get_their_own_totals() -> None:
    """While a query runs, further requests wait for one other query together."""
    asked: list[list[str]] = []
    started, goes_on = threading.Event(), threading.Event()

    def read(ids: Collection[str]) -> Mapping[str, Totals]:
        asked.append(list(ids))
        started.set()
        goes_on.wait(10)
        return {id_: totals(int(id_)) for id_ in ids if id_ != "0"}

    async def run() -> list[dict[str, int]]:
        with ThreadPoolExecutor(1) as executor:
            gathered = GatheredTotals(read, executor)
            requests = [asyncio.create_task(gathered.totals([str(number)])) for number in range(20)]
            await asyncio.to_thread(started.wait, 10)
            goes_on.set()
            found = await asyncio.gather(*requests)
        return [{id_: one.delivered for id_, one in answer.items()} for answer in found]

    assert asyncio.run(run()) == [{}, *({str(number): number} for number in range(1, 20))]
    assert sum(map(len, asked)) == 20
    assert len(asked) <= 2


def test_database_that_hangs_holds_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is refused when the query takes too long; for a while the next ones are refused without a query."""
    monkeypatch.setattr(api_ports, "_ANSWER_S", 0.05)
    goes_on = threading.Event()
    asked: list[Collection[str]] = []
    now_s = 100.0

    def read(ids: Collection[str]) -> Mapping[str, Totals]:
        asked.append(ids)
        goes_on.wait(10)
        return {id_: totals(1) for id_ in ids}

    async def run() -> None:
        nonlocal now_s
        with ThreadPoolExecutor(1) as executor:
            gathered = GatheredTotals(read, executor, lambda: now_s)
            with pytest.raises(LedgerAway, match="did not respond"):
                await gathered.totals(["a"])
            for _ in range(5):
                with pytest.raises(LedgerAway):
                    await gathered.totals(["b"])
            assert len(asked) == 1
            goes_on.set()
            now_s += 1.1
            monkeypatch.setattr(api_ports, "_ANSWER_S", 10.0)
            assert (await gathered.totals(["c"]))["c"].delivered == 1

    asyncio.run(run())


def test_errors_of_the_database_are_for_all_that_wait() -> None:
    """An error of a query refuses the requests of that query, and the next request gets a new one."""
    errors: list[Exception] = [DatabaseAway("away")]
    now_s = 100.0

    def read(ids: Collection[str]) -> Mapping[str, Totals]:
        if errors:
            raise errors.pop()
        return {id_: totals(2) for id_ in ids}

    async def run() -> None:
        nonlocal now_s
        with ThreadPoolExecutor(1) as executor:
            gathered = GatheredTotals(read, executor, lambda: now_s)
            with pytest.raises(LedgerAway, match="away"):
                await gathered.totals(["a"])
            now_s += 1.1
            assert (await gathered.totals(["a"]))["a"].delivered == 2

    asyncio.run(run())
