"""Reads the cluster: brokers, topics, their configuration, and what the principal of the settings may do.

No request of an admin client goes to a group coordinator: it can end the process (docs/architecture/kafka-clients.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from consumers.kafka.admin import TIMEOUT_S, failed, metadata_of, result
from deploy.config.admin import reachable_admin
from deploy.config.settings_sources import Loaded
from deploy.dev.state import check_up_runs
from deploy.doctor.checks.acls import Access, AccessView, NoAuthorizer
from deploy.doctor.checks.cluster import INTERNAL, BrokerView, ClusterView, PartitionView, TopicView
from schemas.catalog.errors import Unavailable

_TRY_S: Final = 1.0
_REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)


def connect(loaded: Loaded, timeout_s: float) -> AdminClient:
    """Return a client that has reached a broker; SignpostError if no broker is set, or none responds."""
    check_up_runs(loaded)
    return reachable_admin(loaded.settings, timeout_s)


def read_cluster(admin: AdminClient, names: Iterable[str]) -> ClusterView:
    """Return the brokers, and those of the topics `names` and of the internal topics that exist."""
    present = metadata_of(admin)
    topics = [name for name in dict.fromkeys((*names, *INTERNAL)) if name in present.topics]
    brokers = {id_: _describe(admin, ResourceType.BROKER, [str(id_)]) for id_ in sorted(present.brokers)}
    configs = _describe(admin, ResourceType.TOPIC, topics)
    return ClusterView(
        tuple(BrokerView(id_, _configs(futures[str(id_)], f"broker {id_}")) for id_, futures in brokers.items()),
        {
            name: TopicView(name, _partitions(present.topics[name].partitions), _configs(configs[name], name))
            for name in topics
        },
    )


def _describe(admin: AdminClient, kind: ResourceType, names: Sequence[str]) -> Mapping[str, Future[Any]]:
    """Request configurations. A request may have only one broker, and has to have a resource."""
    if not names:
        return {}
    resources = [ConfigResource(kind, name) for name in names]
    futures = admin.describe_configs(resources, request_timeout=TIMEOUT_S)
    return {resource.name: future for resource, future in futures.items()}


def _configs(future: Future[Any], what: str) -> Mapping[str, str | None]:
    """Return a configuration; an empty one if the principal may not read it."""
    try:
        entries = result(future, f"the configs of {what}")
    except Unavailable as error:
        if _is_refused(error):
            return {}
        raise
    return {name: entry.value for name, entry in entries.items()}


def _partitions(partitions: Mapping[int, Any]) -> tuple[PartitionView, ...]:
    return tuple(
        PartitionView(number, one.leader, len(one.replicas), len(one.isrs))
        for number, one in sorted(partitions.items())
    )


def read_access(
    kafka: Mapping[str, str],
    admin: AdminClient,
    cluster: ClusterView,
    groups: Sequence[str],
    *,
    topics: Collection[str],
    place: tuple[str, int],
) -> AccessView:
    """Return what the principal may do; `place` is a partition whose positions the groups are asked for.

    `cluster` shows whether it may read the configuration of brokers. Their list of the operations on the cluster is not
    requested: that request can end the process.
    """
    if not _has_authorizer(admin, place[0]):
        return NoAuthorizer()
    described = admin.describe_topics(
        TopicCollection(sorted(topics)), request_timeout=TIMEOUT_S, include_authorized_operations=True
    )
    operations = {name: _operations(future, name) for name, future in described.items()}
    return Access(
        {name: found for name, found in operations.items() if found is not None},
        all(broker.configs for broker in cluster.brokers),
        tuple(group for group in groups if _is_group_refused(kafka, group, place)),
    )


def _has_authorizer(admin: AdminClient, topic: str) -> bool:
    """Return whether ACLs apply. A cluster without an authorizer refuses to list them, with an error of its own."""
    one = AclBindingFilter(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        None,  # type: ignore[arg-type]  # any principal, as its docstring says
        None,  # type: ignore[arg-type]  # from any host, as above
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    try:
        result(admin.describe_acls(one, request_timeout=TIMEOUT_S), "the ACLs")
    except Unavailable as error:
        if _code_of(error) == KafkaError.SECURITY_DISABLED:
            return False
        if not _is_refused(error):
            raise
    return True


def _operations(future: Future[Any], what: str) -> frozenset[str] | None:
    """Return the operations on a topic; none if it may not be described.

    None: the topic does not exist, or the broker does not report operations.
    """
    try:
        found = result(future, what)
    except Unavailable as error:
        if _is_refused(error):
            return frozenset()
        if _code_of(error) == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    operations = found.authorized_operations
    return None if operations is None else frozenset(operation.name for operation in operations)


def _is_group_refused(kafka: Mapping[str, str], group: str, place: tuple[str, int]) -> bool:
    """Return whether the brokers refuse the group's position. A consumer that never joins requests it.

    A client that may not use a group finds no coordinator: its request times out, and `poll` returns the refusal.
    """
    own = {"group.id": group, "enable.auto.commit": False}
    consumer = Consumer({**kafka, **own}, logger=logging.getLogger("signpost.kafka"))
    deadline_s = time.monotonic() + TIMEOUT_S
    try:
        while True:
            try:
                (found,) = consumer.committed([TopicPartition(*place)], timeout=_TRY_S)
            except KafkaException as error:
                if error.args[0].code() in _REFUSED or _is_refusal(consumer.poll(0)):
                    return True
                if error.args[0].code() != KafkaError._TIMED_OUT or time.monotonic() > deadline_s:
                    raise failed(error, f"the positions of the group {group}") from error
            else:
                return found.error is not None and found.error.code() in _REFUSED
    finally:
        consumer.close()


def _is_refusal(message: Message | None) -> bool:
    error = None if message is None else message.error()
    return error is not None and error.code() in _REFUSED


def _code_of(error: Unavailable) -> int | None:
    cause = error.__cause__
    return cause.args[0].code() if isinstance(cause, KafkaException) else None


def _is_refused(error: Unavailable) -> bool:
    return _code_of(error) in _REFUSED
