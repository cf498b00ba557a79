"""Why a job was put off, cancelled or given up, why a subscription was disabled, and what `operations` tells of.

Closed lists, as failures.py is for attempts without an answer: records, metrics and docs/operations.md share them, and
none is ever renamed. A test holds them against the code that uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.catalog.failures import Meaning

DEAD_JOBS: Final[Mapping[str, Meaning]] = {
    "exhausted": Meaning(
        "the last attempt of the schedule failed; the detail says how",
        "when the endpoint is well again: `signpost dead-letters retry`",
    ),
    "gone": Meaning(
        "the endpoint answered 410", "the customer confirms or gives another URL; `signpost subscriptions resume`"
    ),
    "unknown_subscription": Meaning(
        "the job matched a record of `subscriptions` that is not there, nor is another one of its id: the topic was "
        "made anew, or lost records",
        "bring the subscription back with its id (`signpost subscriptions apply`), then `signpost dead-letters retry`",
    ),
}

DEAD_RECORDS: Final[Mapping[str, Meaning]] = {
    "body_too_large": Meaning(
        "the event renders to more than `max_body`, or than its sender sends",
        "the publisher sends less; or raise `max_body`, then `signpost dead-letters retry`",
    ),
    "too_large": Meaning(
        "the source record is larger than `max_event`",
        "the publisher sends less; or raise `max_event`, `signpost topics apply`, and retry",
    ),
    "empty": Meaning("the record has no value", "look at who writes to the topic; nothing to retry"),
    "unknown_format": Meaning(
        "the value begins with neither of the two encodings, or names a schema of a registry and none is set",
        "the publisher encodes as README says; or set `schema_registry_url`, and retry",
    ),
    "unknown_schema": Meaning(
        "no sender, no version of Signpost and no registry has the schema that the value names",
        "load the sender, upgrade, or register the schema; then retry",
    ),
    "truncated": Meaning("the value ends before its record does", "look at who writes to the topic"),
    "trailing_bytes": Meaning("more follows in the value than its record", "look at who writes to the topic"),
    "invalid_value": Meaning(
        "a field has a value that it may not have; the detail names it",
        "the publisher mends it and publishes again; after a mended schema or sender: retry",
    ),
    "unknown_event_type": Meaning(
        "the sender of this source has no such event type", "add it to the sender, or publish to the right topic"
    ),
    "event_type_mismatch": Meaning(
        "the schema is of another event type than the value says", "the publisher encodes with the schema of the type"
    ),
    "no_customer": Meaning("customer_id is empty", "the publisher says whose event it is"),
}

DEAD: Final[Mapping[str, Meaning]] = {**DEAD_JOBS, **DEAD_RECORDS}

CANCELLED: Final[Mapping[str, Meaning]] = {
    "deleted": Meaning("the subscription was deleted before the attempt", "nothing"),
    "paused": Meaning(
        "the subscription was paused before the attempt", "`signpost subscriptions resume` for what comes from then on"
    ),
    "disabled": Meaning(
        "the endpoint is gone, or failed for days", "as the next table says; what was cancelled does not come back"
    ),
    "reactivated": Meaning(
        "the job is from before a pause or disabling that a `resume` ended", "nothing: `resume` begins anew"
    ),
}

DISABLED: Final[Mapping[str, Meaning]] = {
    "gone": Meaning(
        "the endpoint answered 410, once (`disable_gone`)",
        "ask the customer; then `signpost subscriptions resume`, or delete it",
    ),
    "failing": Meaning(
        "no attempt has succeeded for `disable_failing_after`",
        "ask the customer, look at its last answer; then `signpost subscriptions resume`",
    ),
}

DEFERRED: Final[Mapping[str, Meaning]] = {
    "in_flight_limit": Meaning(
        "as many requests are in flight as the endpoint takes: `max_in_flight`, or fewer, as it is slow",
        "nothing for a burst; else the customer's endpoint has to be faster, or set a higher `max_in_flight`",
    ),
    "rate_limit": Meaning("the subscription's `rate_limit` is used up", "nothing, or a higher one"),
    "host_limit": Meaning(
        "`max_in_flight_per_host` requests to the host are in flight; its subscriptions take turns",
        "nothing, or raise it",
    ),
    "process_limit": Meaning(
        "the bulkhead has no permit: of `max_in_flight`, responsive endpoints may use 3/8, slow ones 1/4 to 3/8",
        "many endpoints are slow: look for a common cause; else more delivery processes, or raise it",
    ),
    "circuit_open": Meaning(
        "five attempts in a row had no response: the endpoint gets single probes until it responds to one",
        "look at the kind of failure in the table above",
    ),
    "retry_after": Meaning(
        "the endpoint is throttled (429 or 503 with Retry-After), for `max_endpoint_wait` at most", "nothing"
    ),
    "no_response": Meaning(
        "requests are in flight, and none has ended for a second, or for twice the usual response time",
        "if it lasts: the endpoint hangs; the customer looks at it",
    ),
    "resolver_queue_full": Meaning(
        "many requests wait for DNS, and the resolver queue is full", "look at `dns_servers`, and at what they do"
    ),
    "unusable_subscription": Meaning(
        "the subscription's record cannot be read or opened: another sealing key, a sender that is not loaded",
        "look at the sealing key and the loaded senders; else mend or delete the subscription: its jobs wait",
    ),
}

OPERATIONS: Final[Mapping[str, Meaning]] = {
    "endpoint_failing": Meaning(
        "no attempt has succeeded for `report_failing_after`", "tell the customer: it is disabled if that goes on"
    ),
    "endpoint_disabled": Meaning("the subscription gets nothing any more", "as the table of disabled subscriptions"),
    "endpoint_recovered": Meaning("an attempt has succeeded after `endpoint_failing`", "nothing"),
    "partition_truncated": Meaning(
        "retention deleted records of a source or delay topic unread; the record has topic, partition and offsets",
        "publish those events again; keep topics longer, run more processes, `signpost lag` before it happens",
    ),
}
