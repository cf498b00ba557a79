"""`signpost doctor` on brokers with ACLs and with risky settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from deploy.dev import kafka
from deploy.dev.broker import Broker, start_broker
from deploy.doctor.examination.context import ExaminationRequest
from tests.support.doctor import World, codes, installed
from tests.support.waiting import wait_until

RISKY = {
    "offsets.retention.minutes": "1440",
    "unclean.leader.election.enable": "true",
    "transaction.max.timeout.ms": "60000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
}
OF_BROKER = {
    "positions_retention_short",
    "unclean_election",
    "transaction_timeout_low",
    "transaction_cleanup_slow",
}
# Without an ACL for a resource, everybody may use it.
ACLS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture
def strict_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker with an authorizer, and with settings that doctor warns of."""
    monkeypatch.setattr(kafka, "_FIXED", kafka._FIXED | RISKY | ACLS)
    with start_broker(None, on_progress=lambda _: None) as broker:
        yield broker


def allow(world: World, kind: ResourceType, name: str, principal: str, *operations: AclOperation) -> None:
    """Allow operations on a topic or group to a principal, and so nothing to all others."""
    bindings = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, principal, "*", operation, AclPermissionType.ALLOW)
        for operation in operations
    ]
    for future in world.admin.create_acls(bindings).values():
        future.result(30)


def test_risky_brokers_and_missing_acls_are_found(strict_broker: Broker, tmp_path: Path) -> None:
    """Doctor finds risky settings of brokers; with ACLs, what the principal lacks, and no topic that they hide."""
    with installed(strict_broker.bootstrap_servers, "strict.", tmp_path) as world:
        assert codes(world.examine()) == OF_BROKER

        names = world.names
        allow(world, ResourceType.TOPIC, names.outcomes, "User:other", AclOperation.READ)
        granted = (AclOperation.READ, AclOperation.DESCRIBE_CONFIGS)
        allow(world, ResourceType.TOPIC, names.dead, "User:ANONYMOUS", *granted)
        allow(world, ResourceType.GROUP, "strict.router", "User:other", AclOperation.READ)

        def missing() -> set[tuple[str, str]]:
            report = world.examine()
            assert codes(report) == OF_BROKER | {"acl_missing"}
            return {(one.where, one.what) for one in report.findings if one.code == "acl_missing"}

        expected = {
            (
                names.outcomes,
                "the principal lacks DESCRIBE_CONFIGS, WRITE, READ, needed by router, delivery, ledger, api",
            ),
            (names.dead, "the principal lacks WRITE, needed by router, delivery"),
            ("group strict.router", "the principal may not use the group"),
        }
        wait_until(lambda: missing() == expected, what="the brokers apply the ACLs")
        ledger = world.examine(ExaminationRequest(roles=("ledger",)))
        assert [one.where for one in ledger.findings if one.code == "acl_missing"] == [names.outcomes]
