"""Why a job is dead, cancelled or deferred, why a partition is paused or a subscription disabled, and which events
`operations` reports.

Closed lists, like failures.py for attempts without a response. Records, metrics and docs/operations.md share them. No
entry is ever renamed. A test compares them with the code that uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.catalog.failures import Meaning

DEAD_JOBS: Final[Mapping[str, Meaning]] = {
    "exhausted": Meaning(
        "the last attempt of the schedule failed; `detail` has the failure",
        "when the endpoint works again: `signpost dead-letters retry`",
    ),
    "gone": Meaning(
        "the endpoint responded with 410",
        "the customer confirms the URL or gives another one; `signpost subscriptions resume`",
    ),
    "unknown_subscription": Meaning(
        "the topic `subscriptions` has neither the record that the job matched nor another one with its id: the topic "
        "was recreated, or lost records",
        "restore the subscription with its id (`signpost subscriptions apply`), then `signpost dead-letters retry`",
    ),
}

DEAD_RECORDS: Final[Mapping[str, Meaning]] = {
    "body_too_large": Meaning(
        "the rendered event exceeds `max_body`, or the limit of its sender",
        "the publisher sends less; or raise `max_body`, then `signpost dead-letters retry`",
    ),
    "too_large": Meaning(
        "the source record exceeds `max_event`",
        "the publisher sends less; or raise `max_event`, run `signpost topics apply`, then retry",
    ),
    "empty": Meaning("the record has no value", "find the program that writes to the topic; there is nothing to retry"),
    "unknown_format": Meaning(
        "the value has neither of the two encodings, or it names a schema of a registry and no registry is configured",
        "the publisher encodes as docs/publishing.md describes; or set `schema_registry_url`, then retry",
    ),
    "unknown_schema": Meaning(
        "no loaded sender, no version of Signpost and no registry has the schema that the value names, or the registry "
        "has a schema that is not that of an event, such as a JSON Schema; `detail` says which",
        "load the sender, or upgrade Signpost, then retry; or register the schema and retry after a minute: the router "
        "remembers for a minute that there was none",
    ),
    "truncated": Meaning("the value ends before its record does", "find the program that writes to the topic"),
    "trailing_bytes": Meaning("bytes follow the record in the value", "find the program that writes to the topic"),
    "invalid_value": Meaning(
        "a field has an invalid value; `detail` names the field",
        "the publisher corrects the value and publishes again; after a correction of the schema or sender: retry",
    ),
    "unknown_event_type": Meaning(
        "the sender of this source does not have the event type", "add it to the sender, or publish to the right topic"
    ),
    "event_type_mismatch": Meaning(
        "the schema and the value name different event types", "the publisher encodes with the schema of the event type"
    ),
    "no_customer": Meaning("customer_id is empty", "the publisher sets customer_id"),
}

DEAD: Final[Mapping[str, Meaning]] = {**DEAD_JOBS, **DEAD_RECORDS}

CANCELLED: Final[Mapping[str, Meaning]] = {
    "deleted": Meaning("the subscription was deleted before the attempt", "nothing"),
    "paused": Meaning(
        "the subscription was paused before the attempt",
        "`signpost subscriptions resume`; it applies to events that are published afterwards",
    ),
    "disabled": Meaning(
        "the endpoint responded with 410, or failed for days",
        "see the next table; cancelled jobs are not sent later",
    ),
    "reactivated": Meaning(
        "the job is older than the `resume` that ended a pause or a disabling",
        "nothing: `resume` does not send older jobs",
    ),
}

DISABLED: Final[Mapping[str, Meaning]] = {
    "gone": Meaning(
        "the endpoint responded with 410 once (`disable_gone`)",
        "ask the customer; then `signpost subscriptions resume`, or delete the subscription",
    ),
    "failing": Meaning(
        "no attempt has succeeded for `disable_failing_after`",
        "ask the customer, and check the last response; then `signpost subscriptions resume`",
    ),
}

DEFERRED: Final[Mapping[str, Meaning]] = {
    "in_flight_limit": Meaning(
        "the endpoint's concurrency limit is reached: `max_in_flight`, or less while the endpoint is slow",
        "nothing for a burst; otherwise the customer makes the endpoint faster, or set a higher `max_in_flight`",
    ),
    "rate_limit": Meaning("the subscription's `rate_limit` is reached", "nothing, or set a higher one"),
    "host_limit": Meaning(
        "`max_in_flight_per_host` requests to the host are in flight; its subscriptions take turns",
        "nothing, or raise the setting",
    ),
    "process_limit": Meaning(
        "the bulkhead has no permit: of `max_in_flight`, responsive endpoints may use 3/8, slow ones 1/4 to 3/8",
        "many endpoints are slow: look for a common cause; otherwise start more delivery processes, or raise "
        "`max_in_flight`",
    ),
    "circuit_open": Meaning(
        "five attempts in a row got no response: the endpoint gets one probe at a time until it responds",
        "look up the kind of failure in the table above",
    ),
    "retry_after": Meaning(
        "the endpoint is throttled (429 or 503 with Retry-After), for `max_endpoint_wait` at most", "nothing"
    ),
    "no_response": Meaning(
        "requests are in flight, and none has finished for one second, or for twice the usual response time",
        "if it lasts: the endpoint hangs; the customer checks it",
    ),
    "resolver_queue_full": Meaning(
        "many requests wait for DNS, and the resolver queue is full",
        "check `dns_servers`, and how fast those servers respond",
    ),
    "unusable_subscription": Meaning(
        "the subscription's record cannot be decoded or opened: another sealing key, or a sender that is not loaded",
        "check the sealing key and the loaded senders; otherwise correct or delete the subscription: its jobs wait",
    ),
}

PAUSED: Final[Mapping[str, Meaning]] = {
    "unreadable_subscription": Meaning(
        "a subscription of the event's customer cannot be read, and it may match the event",
        "check the sealing key and the loaded senders; otherwise write the subscription again, or delete it",
    ),
    "schema_registry": Meaning(
        "the schema registry does not respond, refuses the request (401, 403), or does not return the schema of the "
        "record (409, 5xx, or something that is no schema)",
        "check the registry and `schema_registry_url`; the log has its response",
    ),
}

_AUDIT: Final = "nothing; `actor` is the API key (`key:…`), or the user who ran a command (`cli:…`)"
OPERATIONS: Final[Mapping[str, Meaning]] = {
    "endpoint_failing": Meaning(
        "no attempt has succeeded for `report_failing_after`",
        "inform the customer: the subscription is disabled if the failures continue",
    ),
    "endpoint_disabled": Meaning(
        "nothing is sent for the subscription any more", "see the table of disabled subscriptions"
    ),
    "endpoint_recovered": Meaning("an attempt has succeeded after `endpoint_failing`", "nothing"),
    "partition_truncated": Meaning(
        "retention deleted records of a source or delay topic before they were read; the record has topic, partition "
        "and offsets",
        "publish those events again; set a longer retention, run more processes, and watch `signpost lag`",
    ),
    "subscription_created": Meaning("the API or a command created a subscription", _AUDIT),
    "subscription_changed": Meaning("the API or a command changed a subscription; `changed` names the fields", _AUDIT),
    "subscription_deleted": Meaning("the API or a command deleted a subscription", _AUDIT),
    "api_key_created": Meaning("a command created the API key `key_id`", _AUDIT),
    "api_key_revoked": Meaning("a command revoked the API key `key_id`", _AUDIT),
    "api_key_deleted": Meaning(
        "a command deleted the record of the API key `key_id`: it ended more than 90 days ago, or could not be read "
        "when it was revoked",
        _AUDIT,
    ),
}
