"""Admission control: limits the concurrent requests of each endpoint, so that no endpoint disturbs another.

Pure: no I/O, no clock. This package imports no other package of consumers/delivery.

control.py            AdmissionControl, the interface: a task starts, waits in memory, or is deferred
endpoint_state.py     state of one endpoint; state that the endpoints of a host share
concurrency_limit.py  adaptive concurrency limit of an endpoint (AIMD on response times)
rate_limit.py         requests per second of an endpoint (GCRA, a token bucket)
circuit_breaker.py    circuit breaker with half-open probes; Retry-After
bulkhead.py           permits of the process, divided by quotas per traffic class
backlog.py            deferred tasks of an endpoint; the choice of the delay topic
waiting.py            endpoints with tasks waiting in memory, queued by what they wait for; backpressure
registry.py           all endpoint states and hosts
worst_endpoints.py    the worst endpoints and a summary, for operators and metrics
types.py              types shared with the callers
"""

from consumers.delivery.admission.control import AdmissionControl
from consumers.delivery.admission.types import AdmissionLimits, AdmittedTask
from consumers.delivery.admission.worst_endpoints import EndpointView, summarize, worst_endpoints

__all__ = [
    "AdmissionControl",
    "AdmissionLimits",
    "AdmittedTask",
    "EndpointView",
    "summarize",
    "worst_endpoints",
]
