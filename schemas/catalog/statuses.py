"""HTTP statuses that are not a delivery: a closed list that metrics and docs/operations.md share.

Outcomes contain the exact status. Statuses without advice of their own are counted by their class, such as 4xx.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.catalog.failures import Meaning

STATUSES: Final[Mapping[str, Meaning]] = {
    "3xx": Meaning("retried by the schedule; redirects are never followed", "the customer gives the final URL"),
    "400": Meaning("retried", "the customer checks their log: which part of the request is rejected?"),
    "401": Meaning(
        "retried",
        "does the endpoint know the secret, the header, our address? `signpost verify` finds likely mistakes",
    ),
    "403": Meaning("retried", "as 401; often a web application firewall in front of the endpoint"),
    "404": Meaning("retried", "is the URL right?"),
    "405": Meaning("retried", "is the URL right? The resource does not accept POST"),
    "408": Meaning("retried", "the customer's endpoint, or a proxy in front of it, waited too long for the request"),
    "410": Meaning("the job is dead, the subscription disabled", "[Disabled subscriptions](#disabled-subscriptions)"),
    "413": Meaning("retried", "the endpoint's size limit is below the size of the body: see the setting `max_body`"),
    "429": Meaning(
        "retried; with Retry-After, nothing is sent before that time (at most `max_endpoint_wait`)",
        "often: give the subscription a `rate_limit`",
    ),
    "4xx": Meaning("any other 4xx: retried", "the customer checks their log"),
    "500": Meaning("retried", "the customer checks their log; `outcomes` has the first KiB of the response"),
    "502": Meaning("retried", "a proxy in front of the customer's endpoint does not reach it"),
    "503": Meaning("as 429", "the customer's endpoint is overloaded or closed; Retry-After says for how long"),
    "504": Meaning("retried", "as 502: the endpoint does not respond to the proxy in time"),
    "5xx": Meaning("any other 5xx: retried", "the customer checks their log"),
    "other": Meaning("not a status of HTTP: retried", "does the URL belong to a web server?"),
}


def _name_of(status: int) -> str:
    for name in (str(status), f"{status // 100}xx"):
        if name in STATUSES:
            return name
    return "other"


_NAMES: Final = {status: _name_of(status) for status in range(300, 600)}


def status_name(status: int) -> str:
    """Return the name in `STATUSES` under which a status that is not a delivery is counted."""
    return _NAMES.get(status, "other")
