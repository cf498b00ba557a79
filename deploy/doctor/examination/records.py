"""Examines subscriptions and API keys, and the endpoint of the subscription that the request names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from consumers.delivery.endpoint import Endpoint, endpoint_builder
from deploy.config.egress import egress_policy_of
from deploy.config.health import read_health
from deploy.config.sealing_key import sealer_of, sealing_keys_of
from deploy.config.senders import senders_of
from deploy.doctor.checks.cluster import ClusterView
from deploy.doctor.checks.endpoint import check_connection, check_response, check_state
from deploy.doctor.checks.subscriptions import SubscriptionRecords, check_api_keys, check_subscriptions
from deploy.doctor.examination.context import Context
from deploy.doctor.findings import NotObserved, Severity, error
from deploy.doctor.reading.endpoint import check_can_test, probe_endpoint, send_test
from deploy.doctor.reading.records import read_api_keys, read_subscriptions
from producers.compacted.log import Unreadable
from schemas.catalog.errors import InvalidInput, SealBroken, SubscriptionError, UnreadableRecord
from schemas.input.suggestions import did_you_mean
from schemas.keys.hashing import KeyHasher
from schemas.records.health import Health
from schemas.subscriptions.subscription import Subscription

# Added to the timeout of a test request: DNS, the queue, and the record on the topic.
_MORE_S: Final = 20.0


def examine_records(context: Context, cluster: ClusterView) -> None:
    """Check subscriptions, API keys, and the named subscription. The sealing key has to be usable."""
    names = context.settings.names
    if names.api_keys in cluster.topics:
        _examine_api_keys(context)
    if names.subscriptions not in cluster.topics:
        context.skip(("subscriptions", "endpoint"), f"the topic {names.subscriptions} does not exist")
        return
    settings = context.settings
    read = partial(read_subscriptions, settings.kafka_properties(), names, context.environment.reading_s)
    records = context.read(read)
    sealer, policy = sealer_of(settings), egress_policy_of(settings)
    build = endpoint_builder(senders_of(settings), policy, sealer, names.subscriptions, settings.delay_speedup)
    context.add(check_subscriptions(records, build, sealer))
    if context.request.subscription is None:
        return
    if isinstance(records, NotObserved):
        context.skip(["endpoint"], "the subscriptions cannot be read")
        return
    subscription = _named(context.request.subscription, records.value)
    if context.request.sends_test:
        check_can_test(subscription.sender)
    _examine_state(context, subscription, has_health=names.health in cluster.topics)
    _examine_endpoint(context, subscription, build)


def _examine_api_keys(context: Context) -> None:
    settings, names = context.settings, context.settings.names
    keys = context.read(partial(read_api_keys, settings.kafka_properties(), names, context.environment.reading_s))
    hasher = KeyHasher(names.api_keys, [key for _, key in sealing_keys_of(settings)])
    context.add(check_api_keys(keys, hasher, context.environment.clock()))


def _named(id_: str, records: SubscriptionRecords) -> Subscription:
    """Return the subscription of an id; SubscriptionError if there is none that can be read."""
    found = records.found.get(id_)
    if found is None:
        raise SubscriptionError(f"subscription {id_}: does not exist{did_you_mean(id_, records.found)}")
    if isinstance(found, Unreadable):
        raise SubscriptionError(f"subscription {id_}: its record is unreadable: {found.reason}")
    return found


def _examine_state(context: Context, subscription: Subscription, *, has_health: bool) -> None:
    health: Health | None = None
    if has_health:
        known = context.read(partial(read_health, context.settings))
        if isinstance(known, NotObserved):
            do = "check that the brokers run and respond"
            where = context.settings.names.health
            context.add([error("subscriptions", "subscriptions_unreadable", where, known.reason, do)])
        else:
            health = known.value.get(subscription.id)
    context.add(check_state(subscription, health, _now(context)))


def _examine_endpoint(context: Context, subscription: Subscription, build: Callable[[Subscription], Endpoint]) -> None:
    try:
        endpoint = build(subscription)
    except (SealBroken, UnreadableRecord, InvalidInput):  # a finding about the subscriptions says why
        context.skip(["endpoint"], "delivery cannot use the record of the subscription")
        return
    probed = context.read(partial(probe_endpoint, context.settings, endpoint))
    findings = check_connection(subscription.id, endpoint.host, probed, _now(context))
    context.add(findings)
    if context.request.sends_test and all(finding.severity is not Severity.ERROR for finding in findings):
        limit_s = endpoint.sender.timeout.total_seconds() + _MORE_S
        sent = context.read(partial(send_test, context.settings, subscription), limit_s)
        context.add(check_response(subscription.id, endpoint.host, sent))


def _now(context: Context) -> datetime:
    return datetime.fromtimestamp(context.environment.clock() / 1_000, UTC)
