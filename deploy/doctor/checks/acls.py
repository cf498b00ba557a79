"""Checks of ACLs: the operations that each role needs, compared with those that the principal of the settings has.

Brokers report the operations on topics. Whether the principal may read the configuration of brokers is known from their
response to that request. For a group only a refusal is known, and transactional ids are not checked: their coordinators
have no harmless request (docs/architecture/kafka-clients.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from deploy.doctor.findings import Finding, NotObserved, Observed, error, some_of, warning
from schemas.records.topics import TopicNames

RoleName: TypeAlias = Literal["router", "delivery", "ledger", "api"]
ROLES: Final[tuple[RoleName, ...]] = RoleName.__args__  # type: ignore[attr-defined]  # Literal's values
_READ: Final = "READ"
_WRITE: Final = "WRITE"
_CONFIGS: Final = "DESCRIBE_CONFIGS"
# The members of these roles form a group; its name is the prefix and the word here.
_GROUPS: Final[Mapping[RoleName, str]] = {"router": "router", "delivery": "deliver", "ledger": "ledger"}


@dataclass(frozen=True, slots=True)
class Access:
    """What the principal may do: operations by topic, reading brokers' configuration, groups whose use was refused.

    A topic without an entry was not described.
    """

    topics: Mapping[str, frozenset[str]]
    reads_brokers: bool
    refused_groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoAuthorizer:
    """The brokers have no authorizer: every client may perform every operation."""


AccessView: TypeAlias = Access | NoAuthorizer


def groups_of(names: TopicNames, roles: Sequence[RoleName]) -> list[str]:
    """Return the groups of these roles."""
    return [f"{names.prefix}{_GROUPS[role]}" for role in roles if role in _GROUPS]


def hidden_topics(access: Observed[AccessView] | NotObserved) -> frozenset[str]:
    """Return the topics that brokers do not show to the principal, as if they did not exist."""
    if isinstance(access, NotObserved) or isinstance(access.value, NoAuthorizer):
        return frozenset()
    return frozenset(name for name, operations in access.value.topics.items() if not operations)


def check_access(
    access: Observed[AccessView] | NotObserved,
    names: TopicNames,
    jobs: Sequence[str],
    sources: Sequence[str],
    roles: Sequence[RoleName],
) -> list[Finding]:
    """Return the findings about ACLs for these roles; `jobs` are the delay topics, the first one for new jobs."""
    if isinstance(access, NotObserved):
        do = "grant the principal DESCRIBE on the topics, then run `signpost doctor` again: more rights may be missing"
        return [warning("acls", "acl_unknown", "cluster", access.reason, do)]
    found = access.value
    if isinstance(found, NoAuthorizer):
        return []
    findings = list(_check_topics(found, _needs(names, jobs, sources, roles)))
    if not found.reads_brokers:
        what = f"the principal lacks {_CONFIGS} on the cluster: no role starts, because each checks the brokers"
        findings.append(error("acls", "acl_missing", "cluster", what, f"grant the principal {_CONFIGS} on the cluster"))
    for group in found.refused_groups:
        what = "the principal may not use the group"
        findings.append(
            error("acls", "acl_missing", f"group {group}", what, f"grant the principal READ on the group {group}")
        )
    return findings


def _needs(
    names: TopicNames, jobs: Sequence[str], sources: Sequence[str], roles: Sequence[RoleName]
) -> dict[str, dict[str, list[RoleName]]]:
    """Return the operations that are needed on each topic, and the roles that need them."""
    first, *later = jobs
    reads: Mapping[RoleName, Sequence[str]] = {
        "router": (*sources, names.subscriptions, names.health, names.sources),
        "delivery": (*jobs, names.subscriptions, names.health),
        "ledger": (names.outcomes, names.dead, names.operations),
        "api": (names.api_keys, names.subscriptions, names.health),
    }
    writes: Mapping[RoleName, Sequence[str]] = {
        "router": (first, names.dead, names.operations, names.sources),
        "delivery": (*later, names.outcomes, names.dead, names.health, names.operations),
        "ledger": (),
        "api": (names.api_key_uses, names.subscriptions, names.operations, names.tests),
    }
    needs: dict[str, dict[str, list[RoleName]]] = {}
    for role in roles:
        for operation, topics in ((_READ, reads[role]), (_WRITE, writes[role])):
            for topic in topics:
                needs.setdefault(topic, {}).setdefault(operation, []).append(role)
        # At its start each role compares all of Signpost's topics with their required configuration. The router also
        # checks its sources, and watches their retention.
        for topic in (*_own(names, jobs), *(sources if role == "router" else ())):
            needs.setdefault(topic, {}).setdefault(_CONFIGS, []).append(role)
    return needs


def _own(names: TopicNames, jobs: Sequence[str]) -> Iterator[str]:
    yield from jobs
    yield from (names.subscriptions, names.api_keys, names.api_key_uses, names.sources, names.health)
    yield from (names.outcomes, names.operations, names.dead, names.tests)


def _check_topics(access: Access, needs: Mapping[str, Mapping[str, Sequence[RoleName]]]) -> Iterator[Finding]:
    lacking: dict[tuple[str, str], list[str]] = {}
    for topic, operations in needs.items():
        granted = access.topics.get(topic)
        if granted is None:
            continue
        missing = [operation for operation in operations if operation not in granted]
        if missing:
            roles = dict.fromkeys(role for operation in missing for role in operations[operation])
            lacking.setdefault((", ".join(missing), ", ".join(roles)), []).append(topic)
    for (missing_operations, roles_text), topics in lacking.items():
        what = f"the principal lacks {missing_operations}, needed by {roles_text}"
        do = f"grant the principal {missing_operations} on {'the topic' if len(topics) == 1 else 'these topics'}"
        yield error("acls", "acl_missing", some_of(topics), what, do)
