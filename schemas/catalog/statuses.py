"""Statuses of HTTP that are no delivery: a closed list, which metrics and docs/operations.md share.

Outcomes have the status itself. What nobody does anything about by itself is counted with its hundred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.catalog.failures import Meaning

STATUSES: Final[Mapping[str, Meaning]] = {
    "3xx": Meaning("tried again by the schedule; never followed", "the customer gives the URL that answers itself"),
    "400": Meaning("tried again", "the customer looks at their log: what of the request do they not take?"),
    "401": Meaning(
        "tried again",
        "does the endpoint know the secret, the header, our address? `signpost verify` finds likely mistakes",
    ),
    "403": Meaning("tried again", "as 401; often a firewall for web applications before the endpoint"),
    "404": Meaning("tried again", "is the URL right?"),
    "405": Meaning("tried again", "is the URL right? What is there takes no POST"),
    "408": Meaning("tried again", "the customer's endpoint, or what is before it, waited too long for the request"),
    "410": Meaning("the job is dead, the subscription disabled", "[Disabled subscriptions](#disabled-subscriptions)"),
    "413": Meaning("tried again", "the endpoint takes less than is sent: see the setting `max_body`"),
    "429": Meaning(
        "tried again; with Retry-After, nothing is sent before (`max_endpoint_wait`)",
        "often: give the subscription a `rate_limit`",
    ),
    "4xx": Meaning("another of them: tried again", "the customer looks at their log"),
    "500": Meaning("tried again", "the customer looks at their log; `outcomes` has the first KiB of the response"),
    "502": Meaning("tried again", "what is before the customer's endpoint does not reach it"),
    "503": Meaning("as 429", "the customer's endpoint is overloaded or closed; with Retry-After it says for how long"),
    "504": Meaning("tried again", "as 502: it does not answer what is before it in time"),
    "5xx": Meaning("another of them: tried again", "the customer looks at their log"),
    "other": Meaning("a number that HTTP does not have: tried again", "is the URL that of a web server?"),
}


def _name_of(status: int) -> str:
    own, hundred = str(status), f"{status // 100}xx"
    return own if own in STATUSES else hundred if hundred in STATUSES else "other"


_NAMES: Final = {status: _name_of(status) for status in range(300, 600)}


def status_name(status: int) -> str:
    """Return under which name of `STATUSES` a status that is no delivery counts."""
    return _NAMES.get(status, "other")
