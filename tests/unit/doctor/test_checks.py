"""The checks of `signpost doctor`: from what was read to findings, without a broker."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from consumers.kafka.topics import Create, Impossible, Reconfigure, SetBeginning
from consumers.ledger.database_state import LedgerTables, NoLedgerTables
from deploy.doctor.checks.acls import ROLES, Access, NoAuthorizer, RoleName, check_access, groups_of
from deploy.doctor.checks.clock import ClockReading, check_clocks, compared
from deploy.doctor.checks.cluster import (
    BrokerView,
    ClusterView,
    PartitionView,
    TopicView,
    check_brokers,
    check_partitions,
)
from deploy.doctor.checks.services import check_database
from deploy.doctor.checks.topics import check_topics
from deploy.doctor.findings import Finding, NotObserved, Observed, Severity
from deploy.doctor.reading.clock import read_registry_clock
from schemas.records.topics import Topic, TopicNames

NAMES = TopicNames()
JOBS = ["signpost.jobs.0s", "signpost.jobs.5s"]
SOURCES = ["crm"]
HEALTHY = {
    "offsets.retention.minutes": "43200",
    "unclean.leader.election.enable": "false",
    "transaction.max.timeout.ms": "900000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
EVERYTHING = frozenset({"READ", "WRITE", "CREATE", "DESCRIBE", "DELETE", "ALTER", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"})


def codes(findings: list[Finding]) -> list[str]:
    """Return the codes; each finding is complete."""
    assert all(finding.where and finding.what and finding.do for finding in findings)
    return [finding.code for finding in findings]


def topic(name: str, *partitions: PartitionView, **configs: str) -> TopicView:
    """Return a topic; one healthy partition with three replicas by default."""
    given = {key.replace("_", "."): value for key, value in configs.items()}
    return TopicView(name, partitions or (PartitionView(0, 1, 3, 3),), {"min.insync.replicas": "2"} | given)


def cluster(*brokers: dict[str, str], topics: tuple[TopicView, ...] = ()) -> ClusterView:
    """Return a cluster of three brokers whose configurations differ from a healthy one as given."""
    given = [*brokers, *({} for _ in range(3 - len(brokers)))]
    views = tuple(BrokerView(number, HEALTHY | configs) for number, configs in enumerate(given, 1))
    return ClusterView(views, {one.name: one for one in (topic("__consumer_offsets"), *topics)})


@pytest.mark.parametrize(
    ("view", "replication", "expected"),
    [
        (cluster(), 3, []),
        (cluster(), 2, ["replication_low"]),
        (cluster(), 4, ["brokers_too_few", "replicas_few"]),
        (cluster({"offsets.retention.minutes": "10080"}), 3, ["positions_retention_short"]),
        (cluster({"unclean.leader.election.enable": "true"}), 3, ["unclean_election"]),
        (cluster({"transaction.max.timeout.ms": "5000"}), 3, ["transaction_timeout_low"]),
        (cluster({"transaction.max.timeout.ms": "60000"}), 3, ["transaction_timeout_low"]),
        (
            cluster({"transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000"}),
            3,
            ["transaction_cleanup_slow"],
        ),
        (cluster(*[{"inter.broker.protocol.version": "3.9-IV0"}] * 3), 3, []),
        (cluster(*[{"inter.broker.protocol.version": "2.4-IV1"}] * 3), 3, ["broker_version_old"]),
        (cluster({"inter.broker.protocol.version": "3.9-IV0"}), 3, ["broker_versions_differ"]),
        (cluster(topics=(topic("__transaction_state", PartitionView(0, 1, 1, 1)),)), 3, ["replicas_few"]),
    ],
)
def test_brokers_are_checked(view: ClusterView, replication: int, expected: list[str]) -> None:
    """Each risky setting of a broker, an old or mixed version, and missing replicas are found, and nothing else."""
    assert codes(check_brokers(view, replication)) == expected


def test_brokers_with_the_same_problem_are_one_finding() -> None:
    """The finding names all brokers that have the value."""
    (finding,) = check_brokers(cluster(*[{"offsets.retention.minutes": "10080"}] * 2), 3)
    assert finding.where == "brokers 1, 2"
    assert "7 days" in finding.what


def test_brokers_whose_configuration_is_hidden_are_not_judged() -> None:
    """Without the right to read configurations there is no finding about them; ACLs are another check."""
    view = cluster()
    hidden = replace(view, brokers=tuple(BrokerView(broker.id, {}) for broker in view.brokers))
    assert check_brokers(hidden, 3) == []


@pytest.mark.parametrize(
    ("partition", "configs", "expected"),
    [
        (PartitionView(0, 1, 3, 3), {}, []),
        (PartitionView(0, -1, 3, 0), {}, [("partition_offline", Severity.ERROR)]),
        (PartitionView(0, 1, 3, 1), {}, [("partition_not_writable", Severity.ERROR)]),
        (PartitionView(0, 1, 3, 2), {}, [("replicas_behind", Severity.WARNING)]),
        (PartitionView(0, 1, 3, 3), {"min_insync_replicas": "1"}, [("min_insync_low", Severity.WARNING)]),
        (
            PartitionView(0, 1, 3, 3),
            {"unclean_leader_election_enable": "true"},
            [("unclean_election", Severity.WARNING)],
        ),
    ],
)
def test_partitions_of_sources_are_checked(
    partition: PartitionView, configs: dict[str, str], expected: list[tuple[str, Severity]]
) -> None:
    """A partition without a leader or enough replicas, and a source that may lose events, are found."""
    found = check_partitions(cluster(topics=(topic("crm", partition, **configs),)), ["crm"])
    assert [(finding.code, finding.severity) for finding in found] == expected
    assert codes(found) == [code for code, _ in expected]


def test_equal_problems_of_topics_are_one_finding() -> None:
    """With a wrong setting every topic differs in the same way: one finding names the first ones."""
    wrong = [Impossible(f"topic-{number}", "it has 3 partitions", "set partitions = 3") for number in range(25)]
    (finding,) = check_topics(wrong)
    assert finding.where == "topic-0, topic-1, topic-2 and 22 more"
    missing = [Create(Topic(f"topic-{number}", 3, 3, {})) for number in range(2)]
    changes = [*missing, Reconfigure("a", {"retention.ms": ("1", "2")}), SetBeginning("deliver", "jobs.0s", (0, 1))]
    assert codes(check_topics(changes)) == ["topic_missing", "topic_config", "position_missing"]


def access(missing: dict[str, set[str]], **fields: Any) -> Observed[Access]:
    """Return what a principal may do that lacks some operations on topics."""
    own = [NAMES.subscriptions, NAMES.api_keys, NAMES.api_key_uses, NAMES.sources, NAMES.health, NAMES.outcomes]
    own += [NAMES.operations, NAMES.dead, NAMES.tests, *JOBS, *SOURCES]
    topics = {name: EVERYTHING - missing.get(name, set()) for name in own}
    return Observed(Access(**({"topics": topics, "reads_brokers": True, "refused_groups": ()} | fields)))


@pytest.mark.parametrize(
    ("found", "roles", "parts"),
    [
        (access({}), ROLES, []),
        (Observed(NoAuthorizer()), ROLES, []),
        (access({"crm": {"READ"}}), ROLES, ["READ, needed by router"]),
        (access({"crm": {"READ"}}), ("ledger",), []),
        (access({"crm": {"WRITE"}}), ROLES, []),
        (access({"crm": {"DESCRIBE_CONFIGS", "WRITE"}}), ROLES, ["lacks DESCRIBE_CONFIGS, needed by router"]),
        (access({"crm": {"DESCRIBE_CONFIGS"}}), ("delivery", "ledger", "api"), []),
        (access({NAMES.outcomes: {"READ", "WRITE"}}), ROLES, ["WRITE, READ, needed by delivery, ledger"]),
        (access({JOBS[0]: {"WRITE"}}), ("delivery",), []),
        (access({JOBS[0]: {"WRITE"}}), ("router",), ["WRITE, needed by router"]),
        (access({NAMES.tests: {"DESCRIBE_CONFIGS"}}), ("router",), ["DESCRIBE_CONFIGS, needed by router"]),
        (access({}, reads_brokers=False), ROLES, ["DESCRIBE_CONFIGS on the cluster"]),
        (access({}, refused_groups=("signpost.router",)), ROLES, ["may not use the group"]),
        (NotObserved("no response"), ROLES, ["no response"]),
    ],
)
def test_missing_operations_are_found(
    found: Observed[Access] | NotObserved, roles: tuple[RoleName, ...], parts: list[str]
) -> None:
    """An operation that a role needs and the principal lacks is found with the role, and no other one."""
    findings = check_access(found, NAMES, JOBS, SOURCES, roles)
    assert len(findings) == len(parts)
    for finding, part in zip(findings, parts, strict=True):
        assert part in finding.what
    assert codes(findings) == (["acl_unknown"] if isinstance(found, NotObserved) else ["acl_missing"] * len(parts))


def test_topics_with_the_same_gap_are_one_finding() -> None:
    """A principal without any right gets a few findings, not one for each topic."""
    findings = check_access(access({name: set(EVERYTHING) for name in JOBS}), NAMES, JOBS, SOURCES, ("ledger",))
    assert [finding.where for finding in findings] == [", ".join(JOBS)]


def test_roles_have_their_groups() -> None:
    """The API joins no group."""
    assert groups_of(NAMES, ROLES) == ["signpost.router", "signpost.deliver", "signpost.ledger"]
    assert groups_of(NAMES, ("api",)) == []


@pytest.mark.parametrize(
    ("before", "at", "after", "ahead"),
    [
        (1_000, 1_000, 1_010, 0),
        (1_000, 1_010, 1_010, 0),
        (1_000, 900, 1_010, 100),
        (1_000, 1_500, 1_010, -490),
    ],
)
def test_only_a_proven_difference_of_clocks_counts(before: int, at: int, after: int, ahead: int) -> None:
    """A time between two readings of our own clock proves no difference."""
    assert compared("broker 1", before, at, after) == ClockReading("broker 1", ahead)


@pytest.mark.parametrize(("ahead_ms", "expected"), [(0, None), (999, None), (-2_000, "warning"), (90_000, "error")])
def test_clocks_may_differ_by_a_second(ahead_ms: int, expected: str | None) -> None:
    """More than a second is a warning, a minute an error; the finding has amount, direction and effect."""
    findings = check_clocks(Observed([ClockReading("broker 1", ahead_ms)]))
    assert [finding.severity.value for finding in findings] == ([] if expected is None else [expected])
    for finding in findings:
        assert ("ahead of" if ahead_ms > 0 else "behind") in finding.what
        assert ("early" if ahead_ms > 0 else "late") in finding.what
        assert f"{abs(ahead_ms) / 1_000:.1f} s" in finding.what


def test_unknown_clocks_are_a_warning() -> None:
    """If no clock could be read, the report says so."""
    assert codes(check_clocks(NotObserved("no broker appends the record"))) == ["clock_unknown"]


@pytest.mark.parametrize(("seconds", "is_found"), [(0, False), (0.9, False), (30, True), (-30, True)])
def test_clock_of_the_registry_is_the_fallback(seconds: float, is_found: bool) -> None:
    """The header Date has whole seconds: only a larger difference is found."""
    at = datetime(2026, 2, 16, 10, 5, 30, tzinfo=UTC)
    now_ms = int((at.timestamp() + seconds) * 1_000)
    readings = read_registry_clock(format_datetime(at, usegmt=True), now_ms, now_ms + 20)
    assert bool(check_clocks(Observed(readings))) is is_found


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Mon, 32 Feb 2026 10:05:30 GMT",
        "Mon, 16 Feb 99999999999999999999 10:05:30 GMT",
        "Mon, 16 Feb 2026 10:05:30 +99999999999999999999",
    ],
)
def test_registry_without_a_date_has_no_clock(date: str) -> None:
    """A missing or invalid header is no reading."""
    assert read_registry_clock(date, 0, 0) == []


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (LedgerTables("0002", ("0002", "0001"), (15, 4)), []),
        (LedgerTables("0002", ("0002", "0001"), ()), []),
        (LedgerTables("0001", ("0002", "0001"), (15, 4)), ["database_outdated"]),
        (LedgerTables("0003", ("0002", "0001"), (15, 4)), ["database_newer"]),
        (LedgerTables("0002", ("0002", "0001"), (13, 9)), ["database_version_old"]),
        (NoLedgerTables(), ["database_empty"]),
    ],
)
def test_tables_of_the_ledger_are_checked(state: LedgerTables | NoLedgerTables, expected: list[str]) -> None:
    """Missing, older and newer tables, and an old server, are found."""
    assert codes(check_database(Observed(state))) == expected
