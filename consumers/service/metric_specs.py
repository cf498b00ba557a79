"""All metrics: names, descriptions, labels and buckets. metrics.py has the methods that set and count them.

Prometheus demands base units: durations are in seconds. A counter ends with `_total`.
"""

from __future__ import annotations

from typing import Final

from consumers.service.instruments import Spec

# Calls of Kafka and the database: usually milliseconds. Their timeouts are up to a minute.
_CALLS: Final[tuple[float, ...]] = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
)
# Requests: up to the longest timeout of a sender. One second, which the promises name, is a bound.
_REQUESTS: Final[tuple[float, ...]] = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0),
)
# Beyond a minute it is no latency but an incident, of up to a day.
_WAITS: Final = (*_REQUESTS, 300.0, 1_800.0, 7_200.0, 21_600.0, 86_400.0)
_AGES: Final[tuple[float, ...]] = (
    *(0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0),
    *(86_400.0, 604_800.0, 2_592_000.0),
)
_BUILD: Final = ("role", "version", "python", "librdkafka", "compiled")
BUILD_INFO: Final = Spec(
    "signpost_build_info", "Versions, and whether hot modules are compiled to C; always 1.", _BUILD
)
WAITING_FOR_BROKER: Final = Spec(
    "signpost_waiting_for_broker", "1 while the brokers do not respond, acknowledge or commit, else 0."
)
ROLE_START: Final = Spec(
    "signpost_role_start_time_seconds",
    "Unix time of the start of the role. Unlike process_start_time_seconds, it changes with a re-exec.",
)
CONSUMER_LAG: Final = Spec(
    "signpost_consumer_lag_records",
    "Unread records in the partitions of this process, counted every 5 s.",
    ("topic",),
)
UNREAD_AGE: Final = Spec(
    "signpost_unread_age_seconds",
    "Age of the oldest unread record in the partitions of this process, by its timestamp; 0 if there is none.",
    ("topic",),
)
TOPIC_RETENTION: Final = Spec(
    "signpost_topic_retention_seconds",
    "Retention time (retention.ms) of each topic that this process reads. A topic without a limit has no series.",
    ("topic",),
)
TABLE_ENTRIES: Final = Spec("signpost_table_entries", "Entries of the table of a compacted topic.", ("table",))
TABLE_UNUSABLE: Final = Spec(
    "signpost_table_unusable_records",
    "Records of the table that cannot be decoded or opened, until they are written again or deleted.",
    ("table",),
)
TABLE_STALENESS: Final = Spec(
    "signpost_table_staleness_seconds",
    "For how long it is unknown whether the table is complete. Beyond 5 s nothing is routed or sent.",
    ("table",),
)
UNREADABLE: Final = Spec(
    "signpost_unreadable_records_total", "Unreadable records, which became dead letters.", ("reason",)
)
SPANS: Final = Spec(
    "signpost_trace_spans_total",
    "Spans by result: exported, failed (the collector did not take them), or dropped (the queue was full).",
    ("result",),
)
DEAD: Final = Spec("signpost_dead_jobs_total", "Jobs that ended without a delivery.", ("reason",))
LINES_OMITTED: Final = Spec(
    "signpost_log_lines_omitted_total",
    "Log lines of successes that sampling omitted (log_successes_per_second).",
    ("event",),
)

EVENTS_ROUTED: Final = Spec("signpost_router_events_total", "Events routed.", ("sender", "event_type"))
JOBS_CREATED: Final = Spec("signpost_router_jobs_total", "Jobs created.", ("sender", "event_type"))
JOBS_WITHHELD: Final = Spec(
    "signpost_router_withheld_total", "Matches without a job: the subscription is paused or disabled."
)
EVENT_AGE: Final = Spec(
    "signpost_router_event_age_seconds",
    "From `created_at` of an event, as its producer set it, to its routing: 0 if in the future, at most 30 days.",
    ("sender",),
    _AGES,
)
ROUTER_TRUNCATED: Final = Spec(
    "signpost_router_truncated_records_total", "Records of sources that retention deleted before they were read."
)
DELAY_TOPICS_TRUNCATED: Final = Spec(
    "signpost_delivery_truncated_records_total", "Records of delay topics that retention deleted before they were read."
)
WAITING_FOR_REGISTRY: Final = Spec(
    "signpost_router_waiting_for_registry",
    "1 while an event waits for its schema because the registry does not return it, else 0.",
)
PAUSED_PARTITIONS: Final = Spec(
    "signpost_router_paused_partitions",
    "Partitions paused before a record that waits: for a readable subscription, or for its schema.",
    ("reason",),
)
ROUTER_UNCOMMITTED: Final = Spec("signpost_router_uncommitted_jobs", "Jobs created since the last commit.")
ROUTER_COMMIT: Final = Spec(
    "signpost_router_commit_duration_seconds", "From the start of a flush to the end of its commit.", (), _CALLS
)

ATTEMPTS: Final = Spec("signpost_delivery_attempts_total", "Attempts.", ("sender", "event_type", "result"))
TRANSPORT_ERRORS: Final = Spec(
    "signpost_delivery_transport_errors_total", "Attempts without a response, by kind of transport error.", ("kind",)
)
REJECTED: Final = Spec(
    "signpost_delivery_rejected_total", "Attempts with a response other than 2xx, by status.", ("status",)
)
CANCELLED: Final = Spec("signpost_delivery_cancelled_total", "Jobs cancelled before an attempt.", ("reason",))
DEFERRED: Final = Spec("signpost_delivery_deferred_total", "Jobs deferred without an attempt.", ("reason",))
LIMITED: Final = Spec(
    "signpost_delivery_limited_endpoints",
    "Endpoints with jobs that wait in memory, by the limit they wait for.",
    ("reason",),
)
OPEN_CIRCUITS: Final = Spec(
    "signpost_delivery_open_circuits",
    "Endpoints whose circuit breaker is open or half-open.",
    ("reason",),
)
DISABLED: Final = Spec(
    "signpost_delivery_disabled_subscriptions",
    "Subscriptions disabled because their endpoint is gone or failed for days.",
)
SLOW_REQUESTS: Final = Spec(
    "signpost_delivery_slow_requests",
    "In-flight requests counted against the slow quota: overdue, to slow endpoints, or first contact.",
)
ATTEMPT_DURATION: Final = Spec(
    "signpost_delivery_attempt_duration_seconds",
    "From the start of an attempt to the end of the response headers, or to the transport error.",
    ("sender",),
    _REQUESTS,
)
FIRST_ATTEMPT: Final = Spec(
    "signpost_delivery_first_attempt_latency_seconds",
    "From the time when the event could first be read to the start of its first attempt: from its append, from the "
    "start of its source if that was later, or from the router's read of it if its topic keeps the timestamps of "
    "producers. limited=yes: the job waited for a limit of its endpoint or host, or was deferred.",
    ("sender", "limited"),
    _WAITS,
)
JOBS_WAITING: Final = Spec(
    "signpost_delivery_jobs_waiting", "Jobs that wait in a delay topic: unread, or read and unfinished.", ("delay",)
)
OLDEST_DUE: Final = Spec(
    "signpost_delivery_oldest_due_age_seconds", "Time since the oldest due job became due.", ("delay",)
)
UNREAD_DUE: Final = Spec(
    "signpost_delivery_unread_due_age_seconds",
    "Time since the oldest unread job became due; 0: none is due. No endpoint keeps such a job waiting.",
    ("delay",),
)
IN_FLIGHT: Final = Spec("signpost_delivery_in_flight_requests", "Requests in flight.")
MAX_IN_FLIGHT: Final = Spec(
    "signpost_delivery_in_flight_limit", "Maximum number of requests in flight (max_in_flight)."
)
RESOLVING: Final = Spec("signpost_delivery_resolving_requests", "Requests that wait for DNS.")
DELIVERY_UNCOMMITTED: Final = Spec("signpost_delivery_uncommitted_outcomes", "Outcomes since the last commit.")
TRANSACTIONS: Final = Spec("signpost_delivery_transactions_total", "Transactions.", ("result",))
TRANSACTION_DURATION: Final = Spec(
    "signpost_delivery_transaction_duration_seconds", "From the first call of a transaction to the last.", (), _CALLS
)

WAITING_FOR_DATABASE: Final = Spec(
    "signpost_ledger_waiting_for_database", "1 while the database of the ledger does not respond, else 0."
)
LEDGER_OUTCOMES: Final = Spec("signpost_ledger_outcomes_total", "Outcomes written into the database.")
LEDGER_BATCH: Final = Spec(
    "signpost_ledger_batch_duration_seconds", "From the lookup of a batch's deliveries to its commit.", (), _CALLS
)
LEDGER_LAG: Final = Spec(
    "signpost_ledger_lag_seconds",
    "Age of the oldest outcome that was read and is not in the database; 0 if there is none.",
)
LEDGER_PREPARED: Final = Spec(
    "signpost_ledger_prepared_seconds",
    "For how long from now on the tables are prepared; at 0 nothing can be written.",
)
LEDGER_TRUNCATED: Final = Spec(
    "signpost_ledger_truncated_records_total", "Records that retention deleted before the ledger read them."
)
API_REQUESTS: Final = Spec(
    "signpost_api_requests_total",
    "Answered requests, by API, operation and class of the status (2xx, 4xx, 5xx).",
    ("flavour", "operation", "status"),
)
API_DURATION: Final = Spec(
    "signpost_api_request_duration_seconds",
    "From the headers of a request to its answer.",
    ("flavour", "operation"),
    _REQUESTS,
)
API_WRITES: Final = Spec("signpost_api_writes_total", "Changes of subscriptions, by their effect.", ("effect",))

# All metrics above, for documentation, dashboards and their tests.
SPECS: Final[tuple[Spec, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Spec))
