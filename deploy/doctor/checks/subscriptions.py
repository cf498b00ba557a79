"""Checks of all subscriptions and API keys: can delivery and the API use them with these settings?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from consumers.delivery.endpoint import Endpoint
from deploy.doctor.findings import Area, Finding, FindingCode, NotObserved, Observed, error, some_of, warning
from producers.compacted.log import Unreadable
from producers.subscriptions.sealed_fields import sealed_in
from schemas.catalog.errors import InvalidInput, SealBroken, UnreadableRecord
from schemas.keys.hashing import KeyHasher
from schemas.records.api_key import ApiKey
from schemas.subscriptions.sealing import Sealer, id_of_sealing_key
from schemas.subscriptions.subscription import Subscription

_ADD_KEY: Final = "add the sealing key to sealing_keys, after the first one"
_OPERATOR: Final = "see docs/operations.md, Sealing keys"


@dataclass(frozen=True, slots=True)
class SubscriptionRecords:
    """The records of the topic `subscriptions` by id, and the ids that are on several partitions."""

    found: Mapping[str, Subscription | Unreadable]
    conflicts: Mapping[str, Sequence[int]]


@dataclass(slots=True)
class _Sorted:
    """Ids of subscriptions by what is wrong with them, with the reason of the first one."""

    unreadable: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    by_key: dict[str, list[str]] = field(default_factory=dict)


def check_subscriptions(
    records: Observed[SubscriptionRecords] | NotObserved,
    endpoint_of: Callable[[Subscription], Endpoint],
    sealer: Sealer,
) -> list[Finding]:
    """Return the findings about all subscriptions. `endpoint_of` is what delivery makes of a record."""
    if isinstance(records, NotObserved):
        do = "check that the brokers run and respond"
        return [error("subscriptions", "subscriptions_unreadable", "subscriptions", records.reason, do)]
    sorted_ = _Sorted()
    for id_, found in records.value.found.items():
        _sort(sorted_, id_, found, endpoint_of, sealer)
    findings = [
        *_grouped(sorted_.unreadable, "subscription_unreadable", "write the subscription again, or delete it"),
        *_grouped(
            sorted_.unusable, "subscription_unusable", "load its sender; otherwise correct or delete the subscription"
        ),
        *_grouped(
            sorted_.broken, "secret_broken", "set the secrets, header values and client key of the subscription again"
        ),
        *_grouped(sorted_.refused, "url_refused", "change the URL, or allow_http, allow_ports or allow_cidrs"),
    ]
    for key, ids in sorted_.by_key.items():
        what = (
            f"{_count(ids)} sealed with the key {key}, which is not configured: jobs wait. "
            f"Configured keys: {sealer.key_names}"
        )
        do = f"{_ADD_KEY}; if the key is lost, delete and create the subscriptions again ({_OPERATOR})"
        findings.append(error("sealing_key", "secret_sealed_with_another_key", some_of(ids), what, do))
    if records.value.conflicts:
        ids = sorted(records.value.conflicts)
        what = "records with the same id are on several partitions, and only the first record counts"
        do = "delete the subscription, and create it again: `signpost subscriptions show` names the partitions"
        findings.append(warning("subscriptions", "subscription_twice", some_of(ids), what, do))
    return findings


def check_api_keys(
    keys: Observed[Mapping[str, ApiKey | Unreadable]] | NotObserved, hasher: KeyHasher, now_ms: int
) -> list[Finding]:
    """Return the findings about API keys that the API does not accept although they are active."""
    if isinstance(keys, NotObserved):
        do = "check that the brokers run and respond"
        return [error("sealing_key", "api_key_unreadable", "api-keys", keys.reason, do)]
    unreadable = [id_ for id_, key in keys.value.items() if isinstance(key, Unreadable)]
    unusable = [
        id_
        for id_, key in keys.value.items()
        if isinstance(key, ApiKey) and key.state(now_ms) == "active" and not hasher.has_key_of(key)
    ]
    findings = []
    if unreadable:
        what = f"{_count(unreadable, 'API key')} unreadable and refused by the API"
        do = "delete each with `signpost keys revoke`, then create a new one"
        findings.append(warning("sealing_key", "api_key_unreadable", some_of(unreadable), what, do))
    if unusable:
        what = f"{_count(unusable, 'API key')} made with a sealing key that is not configured, and refused by the API"
        do = f"{_ADD_KEY}; or create new API keys, and revoke these ({_OPERATOR})"
        findings.append(warning("sealing_key", "api_key_unusable", some_of(unusable), what, do))
    return findings


def _sort(
    sorted_: _Sorted,
    id_: str,
    found: Subscription | Unreadable,
    endpoint_of: Callable[[Subscription], Endpoint],
    sealer: Sealer,
) -> None:
    if isinstance(found, Unreadable):
        sorted_.unreadable[id_] = f"its record is unreadable, and its jobs wait: {found.reason}"
        return
    try:
        endpoint = endpoint_of(found)
    except SealBroken as broken:
        unknown = [part.sealed for part in sealed_in(found) if not sealer.has_key_of(part.sealed)]
        if unknown:
            sorted_.by_key.setdefault(id_of_sealing_key(unknown[0]), []).append(id_)
        else:
            sorted_.broken[id_] = f"its jobs wait: {broken}"
    except (UnreadableRecord, InvalidInput) as unusable:
        sorted_.unusable[id_] = f"delivery cannot use its record, and its jobs wait: {unusable}"
    else:
        if isinstance(endpoint.target, str):
            sorted_.refused[id_] = f"the URL is not allowed, and each attempt fails (blocked_url): {endpoint.target}"


def _grouped(reasons: Mapping[str, str], code: FindingCode, do: str) -> list[Finding]:
    """Return one finding for all ids, with the reason of the first one."""
    if not reasons:
        return []
    area: Area = "sealing_key" if code == "secret_broken" else "subscriptions"
    return [error(area, code, some_of(list(reasons)), next(iter(reasons.values())), do)]


def _count(ids: Sequence[str], what: str = "subscription") -> str:
    return f"1 {what} is" if len(ids) == 1 else f"{len(ids):,} {what}s are"
