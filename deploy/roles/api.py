"""Composition of an API process: table and writer of subscriptions, keys, ledger, test deliveries, HTTP server."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Thread
from typing import Final

import structlog
from confluent_kafka.admin import AdminClient
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from consumers.delivery.inline_deliveries import InlineDeliveries
from consumers.kafka.append_log import AppendLog
from consumers.kafka.stuck_clients import STUCK, StuckClients, stuck_clients
from consumers.ledger.reads import LedgerReads
from consumers.service.exposition import Exposition
from consumers.service.log_sampling import SuccessSampler
from consumers.service.metrics import ApiMetrics
from consumers.service.startup import await_topics
from deploy.config.drain import longest_timeout
from deploy.config.egress import egress_policy_of
from deploy.config.sealing_key import sealer_of, sealing_keys_of
from deploy.config.senders import senders_of
from deploy.config.wanted_topics import wanted_topics
from deploy.roles.api_docs import File, add_docs
from deploy.roles.api_ports import CheckedKeys, GatheredTotals, GuardedTests, StoredSubscriptions
from deploy.roles.http_server import serve, url_of
from deploy.roles.inline_deliveries import inline_deliveries_of, log_of_tests
from producers.api.app import app_of
from producers.compacted.follower import Follower
from producers.compacted.log import CompactedLog
from producers.keys.service import ApiKeys
from producers.subscriptions.store import SubscriptionStore
from producers.subscriptions.writer import SubscriptionWriter
from schemas.catalog.errors import RestartRequired, SignpostError, Unavailable
from schemas.records.health import Health, decode_health
from schemas.settings.settings import Settings
from schemas.subscriptions.rules import Bounds

# Queries of the ledger at the same time: one, which has the ids of all requests that wait.
_READERS: Final = 1
# A change is answered or refused within this time: clients wait for it.
_WRITE_TIMEOUT_S: Final = 15.0
# How long a broker may hold a fetch of a process that follows a topic for hours.
_FETCH_WAIT_MS: Final = 100
# A writer waits this long for the end of a partition whose last record is a marker of a transaction.
_WRITER_FETCH_WAIT_MS: Final = 20
_RETRY_S: Final = 0.2
_log = structlog.get_logger("api")


@dataclass(slots=True, kw_only=True)
class ApiRole:
    """An API process, ready to run. It serves at once, and refuses requests until it has read its topics."""

    settings: Settings
    metrics: ApiMetrics
    admin: AdminClient
    store: SubscriptionStore
    health: CompactedLog[Health]
    follower: Follower
    keys: ApiKeys
    ledger: LedgerReads
    log_of_tests: AppendLog
    tests: InlineDeliveries
    docs: Sequence[File]
    stuck: StuckClients
    starting: str | None = "the topics have not been checked yet"
    failure: str | None = None
    stopped: bool = False

    def why_not_ready(self) -> str | None:
        """Return why requests are refused, or may get old data; None if neither."""
        return self.starting or self.store.why_not_ready() or self.follower.why_not_ready() or self.keys.why_not_ready()

    def run(
        self, stopping: Callable[[], bool], why_not_alive: Callable[[], str | None], listening: socket.socket
    ) -> bool:
        """Serve until `stopping`; False if a part of the process has ended by itself. RestartRequired: see STUCK."""
        startup = Thread(target=self._start, args=(lambda: self.stopped or stopping(),), name="startup", daemon=True)
        startup.start()
        try:
            with ThreadPoolExecutor(_READERS, "ledger") as executor:
                app = self._app(executor, why_not_alive)
                _log.info("api.started", address=url_of(listening))
                serve(app, listening, lambda: stopping() or self._has_failed(), self.settings.drain_timeout)
        finally:
            self.stopped = True
            startup.join()
            self._close()
        if self.failure == STUCK:
            raise RestartRequired(STUCK)
        if self.failure is not None:
            _log.error("api.ended", error=self.failure)
        else:
            _log.info("api.drained", complete=True)
        return self.failure is None

    def _start(self, stopping: Callable[[], bool]) -> None:
        """Read the topics, as soon as the brokers respond."""
        try:
            ready = await_topics(
                self.settings.kafka_properties(),
                self.admin,
                wanted_topics(self.settings),
                self.settings.names,
                log=_log,
                waiting=self._on_waiting,
                stopping=stopping,
            )
            if ready:
                self.store.start()
                self.follower.start()
                self._start_keys(stopping)
                self.starting = None
        except Exception as error:
            self.failure = str(error)
            if not isinstance(error, SignpostError):
                raise

    def _start_keys(self, stopping: Callable[[], bool]) -> None:
        while not stopping():
            try:
                self.keys.start()
            except Unavailable as error:
                self._on_waiting(str(error))
                time.sleep(_RETRY_S)
            else:
                self._on_waiting(None)
                return

    def _on_waiting(self, reason: str | None) -> None:
        self.starting = reason or "the topics have not been read yet"
        self.metrics.set_waiting_for_broker(reason is not None)

    def _has_failed(self) -> bool:
        if self.failure is None and self.starting is None:
            alive = {
                "subscriptions": self.store.is_alive,
                "health": self.follower.is_alive,
                "API keys": self.keys.is_alive,
                "test deliveries": self.tests.is_alive,
                "log of tests": self.log_of_tests.is_alive,
            }
            if ended := [name for name, is_alive in alive.items() if not is_alive]:
                self.failure = f"the thread of {' and '.join(ended)} has ended"
            elif self.stuck.are_stuck(time.monotonic(), unanswered=self._is_unanswered()):
                self.failure = STUCK
        return self.failure is not None

    def _is_unanswered(self) -> bool:
        """Return whether the brokers do not respond to requests, though they did once."""
        if self.why_not_started() is not None:
            return False
        # A table that is behind receives records. A restart would read it from its beginning.
        subscriptions = self.store.why_not_ready() is not None and not self.store.receives
        return subscriptions or (self.follower.why_not_ready() is not None and not self.health.receives)

    def _app(self, executor: Executor, why_not_alive: Callable[[], str | None]) -> FastAPI:
        settings = self.settings
        subscriptions = StoredSubscriptions(self.store, self.health)
        app = app_of(
            keys=CheckedKeys(self.keys, self.why_not_started),
            subscriptions=subscriptions,
            changes=subscriptions,
            deliveries=GatheredTotals(self.ledger.totals, executor),
            tests=GuardedTests(self.tests),
            metrics=self.metrics,
            sampler=SuccessSampler(settings.log_successes_per_second),
            senders=senders_of(settings),
            urls=egress_policy_of(settings),
            bounds=Bounds(longest_timeout(settings), datetime.now(UTC)),
            clock=time.time,
            new_id=lambda: str(uuid.uuid4()),
        )
        add_docs(app, self.docs)
        add_status_pages(app, self.metrics.registry, self.why_not_ready, why_not_alive)
        return app

    def why_not_started(self) -> str | None:
        """Return why no request can be answered, None if all topics have been read once."""
        if self.starting is not None:
            return self.starting
        return None if self.store.has_read and self.follower.has_read else "the topics have not been read yet"

    def _close(self) -> None:
        parts = (self.store, self.follower, self.keys)
        for part in parts:
            part.stop()
        self.tests.close()
        self.log_of_tests.close()
        for part in parts:
            part.close()
        self.ledger.close()


def add_status_pages(
    app: FastAPI, registry: CollectorRegistry, ready: Callable[[], str | None], alive: Callable[[], str | None]
) -> None:
    """Add /metrics, /healthz and /readyz, as the other roles serve them."""

    exposition = Exposition(registry)

    def metrics(request: Request) -> Response:
        content_type, body = exposition.render(",".join(request.headers.getlist("accept")))
        return Response(body, headers={"Content-Type": content_type})

    def check(why_not: Callable[[], str | None]) -> Callable[[Request], Response]:
        def page(_: Request) -> Response:
            reason = why_not()
            return PlainTextResponse(f"{reason or 'ok'}\n", 200 if reason is None else 503)

        return page

    for path, page in (("/metrics", metrics), ("/healthz", check(alive)), ("/readyz", check(ready))):
        app.router.routes.insert(0, Route(path, page, methods=["GET"]))


def build(settings: Settings, ledger_url: str, docs: Sequence[File]) -> ApiRole:
    """Create the parts of an API process, without a request to a broker or the database. `docs` are under /docs."""
    kafka = settings.kafka_properties()
    names = settings.names
    metrics = ApiMetrics()
    metrics.set_role_start(time.time())
    writer = SubscriptionWriter(
        kafka,
        names,
        senders_of(settings),
        sealer_of(settings),
        timeout_s=_WRITE_TIMEOUT_S,
        fetch_wait_ms=_WRITER_FETCH_WAIT_MS,
    )
    health: CompactedLog[Health] = CompactedLog(
        kafka,
        names.health,
        lambda _, value: decode_health(value),
        monotonic=time.monotonic,
        sleep=time.sleep,
        timeout_s=_WRITE_TIMEOUT_S,
        fetch_wait_ms=_FETCH_WAIT_MS,
    )
    log = log_of_tests(settings)
    return ApiRole(
        settings=settings,
        metrics=metrics,
        admin=AdminClient({**kafka}, logger=logging.getLogger("signpost.kafka")),
        store=SubscriptionStore(writer, lambda reason: metrics.set_waiting_for_broker(reason is not None)),
        health=health,
        follower=Follower([health]),
        keys=ApiKeys(kafka, names, [key for _, key in sealing_keys_of(settings)], rate_limit=settings.api_rate_limit),
        ledger=LedgerReads(ledger_url),
        log_of_tests=log,
        tests=inline_deliveries_of(settings, log),
        docs=docs,
        stuck=stuck_clients(kafka, [names.subscriptions, names.health]),
    )
