"""API processes, the ledger and its database are killed at random while customers write and events are delivered."""

from __future__ import annotations

import http.client
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import pytest

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from producers.events.publisher import EventPublisher
from schemas.senders.sender import load_senders
from tests.support.api import ApiClient, client_of, key_of, start_api
from tests.support.ledger import LedgerDatabase, totals_of
from tests.support.parts import need
from tests.support.pipeline import Pipeline
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.roles import Role, RoleStarter
from tests.support.waiting import wait_until

PATH = "/api/v1/webhooks/"
GONE = "gone"


@dataclass
class Customers:
    """Customers that write over two API processes; `states` are the possible descriptions of each webhook."""

    clients: list[ApiClient]
    url: str
    every: int  # one webhook of so many gets the events
    states: dict[str, set[str]] = field(default_factory=dict)
    done: int = 0
    acknowledged: int = 0
    lock: Lock = field(default_factory=Lock)

    def write(self, number: int) -> None:
        """Create a webhook, or change or delete one: a chain of a few writes."""
        chance = random.Random(number)
        id_ = self._create(number)
        if id_ is None:
            return
        for step in range(chance.randint(1, 3)):
            self._change(id_, f"{number}-{step}")
        if chance.random() < 0.3:
            self._delete(id_)

    def _create(self, number: int) -> str | None:
        event_type = "all" if number % self.every == 0 else "case.opened"
        body = {"event_type": event_type, "webhook_url": self.url, "description": f"{number}"}
        answer = self._request("POST", PATH, body)
        if answer is None or answer[0] != 201:
            return None  # an unacknowledged webhook has an id that nobody knows
        id_ = str(answer[1]["id"])
        self.states[id_] = {f"{number}"}
        return id_

    def _change(self, id_: str, description: str) -> None:
        self._write(id_, "PATCH", {"description": description}, description)

    def _delete(self, id_: str) -> None:
        self._write(id_, "DELETE", None, GONE)

    def _write(self, id_: str, method: str, body: Any, after: str) -> None:
        answer = self._request(method, f"{PATH}{id_}/", body)
        if answer is not None and answer[0] == 200:
            self.states[id_] = {after}
        elif answer is not None and answer[0] == 404:
            assert GONE in self.states[id_], f"webhook {id_} was acknowledged and is not there"
        else:
            assert answer is None or answer[0] == 503, answer
            self.states[id_] = {*self.states[id_], after}

    def _request(self, method: str, path: str, body: Any) -> tuple[int, Any] | None:
        """Return status and answer; None if the process died meanwhile."""
        with self.lock:
            self.done += 1
            client = self.clients[self.done % len(self.clients)]
        try:
            answer = client.request(method, path, body)
        except (OSError, http.client.HTTPException):
            return None
        with self.lock:
            self.acknowledged += answer.status < 300
        return answer.status, answer.json


@dataclass
class Processes:
    """What is killed: two API processes, the ledger and the database."""

    pipeline: Pipeline
    server: PostgresServer
    database: LedgerDatabase
    apis: list[Role]
    ledger: Role

    def kill(self, chance: random.Random) -> None:
        """Kill one of them, and start it again."""
        match chance.choice(["api", "api", "ledger", "database"]):
            case "api":
                number = chance.randrange(len(self.apis))
                old = self.apis[number]
                old.kill()
                assert old.address is not None
                listen = old.address.removeprefix("http://")
                self.apis[number] = start_api(self.pipeline, self.database.url, api_listen=listen)
            case "ledger":
                self.ledger.kill()
                self.ledger = self.pipeline.ledger(self.database.url)
            case "database":
                self.server.kill()
                self.server.start()


@dataclass(frozen=True)
class Size:
    """Of a run: chains of two to five writes each, events, and kills."""

    chains: int
    events: int
    kills: int


@pytest.fixture
def pipeline(broker: Broker, prefix: str, start_role: RoleStarter) -> Pipeline:
    """An installation with the events of the Onboarding API."""
    sources = [{"topic": f"{prefix}onboarding.events", "sender": "onboarding"}]
    return Pipeline(broker.bootstrap_servers, prefix, start_role, sources=sources, api_rate_limit=0)


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    "size",
    [Size(40, 50, 4), pytest.param(Size(3_000, 5_000, 40), marks=pytest.mark.long)],
    ids=["short", "long"],
)
def test_kills_lose_no_acknowledged_write_and_miscount_nothing(
    pipeline: Pipeline, receiver: Receiver, size: Size
) -> None:
    """Each acknowledged change is there afterwards, and statistics equal a count over the topic `outcomes`."""
    need("postgres")
    with postgres_server() as server:
        database = LedgerDatabase(server.url)
        ledger = pipeline.ledger(database.url)
        apis = [start_api(pipeline, database.url) for _ in range(2)]
        key = key_of(pipeline, "onboarding").text
        pipeline.router()
        pipeline.deliver()
        processes = Processes(pipeline, server, database, apis, ledger)
        customers = Customers([client_of(api, key) for api in apis], receiver.url, size.chains // 20)
        chance = random.Random(size.kills)
        with ThreadPoolExecutor(min(size.chains, 64)) as executor:
            writing = [executor.submit(customers.write, number) for number in range(size.chains)]
            for number in range(size.kills):
                share = size.chains * number // size.kills
                wait_until(lambda share=share: customers.done >= share, 300, "a share of the writes")  # type: ignore[misc]  # a default has no type
                publish(pipeline, number * size.events // size.kills, (number + 1) * size.events // size.kills)
                processes.kill(chance)
        for one in writing:
            one.result()
        assert customers.acknowledged > size.chains / 2

        check(pipeline, customers, database)


def publish(pipeline: Pipeline, begin: int, end: int) -> None:
    """Publish events with these numbers."""
    topic = pipeline.names.events("onboarding")
    kafka = pipeline.settings.kafka_properties()
    with EventPublisher(kafka, sender=load_senders()["onboarding"], topic=topic) as publisher:
        for number in range(begin, end):
            publisher.publish(
                {
                    "event_id": f"evt_{number}",
                    "event_type": "screening.completed",
                    "created_at": "2026-01-19T10:30:00.123456+00:00",
                    "customer_id": "acme",
                    "data": {"number": number},
                }
            )


def check(pipeline: Pipeline, customers: Customers, database: LedgerDatabase) -> None:
    """Check that both processes list what was acknowledged, and that the numbers are those of the topic."""

    def all_have_ended() -> bool:
        outcomes = pipeline.outcomes()
        ended = {one["job_id"] for one in outcomes if one["state"] in ("delivered", "dead", "cancelled")}
        missing = {job.job_id for job in pipeline.jobs()} - ended
        assert not missing, f"{len(missing)} jobs have not ended"
        return True

    def are_counted() -> bool:
        assert database.totals() == totals_of(pipeline.outcomes())
        return True

    wait_until(all_have_ended, what="all jobs have ended")
    wait_until(are_counted, what="the totals are those of the topic")
    wanted = totals_of(pipeline.outcomes())
    for client in customers.clients:
        listed = {one["id"]: one for one in client.get(PATH).json["webhooks"]}
        for id_, states in customers.states.items():
            found = listed[id_]["description"] if id_ in listed else GONE
            assert found in states, f"webhook {id_} has {found!r}, not one of {states}"
        for id_, webhook in listed.items():
            delivered, dead, _, _ = wanted.get(id_, (0, 0, 0, 0))
            stats = {
                "total_deliveries": delivered + dead,
                "successful_deliveries": delivered,
                "failed_deliveries": dead,
            }
            assert webhook["stats"] == stats
