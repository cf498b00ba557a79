"""The worst endpoints of all delivery processes: requested from each of them, and merged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import httpx

from consumers.delivery.endpoint_report import EndpointRow, rank, row_of

_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class EndpointsReport:
    """Endpoints, worst first, how many subscriptions are disabled, and which processes do not respond.

    `silent` has a reason for each address without a response.
    """

    endpoints: tuple[EndpointRow, ...]
    disabled: int
    asked: int
    silent: Mapping[str, str]


def ask(addresses: Sequence[str], limit: int) -> EndpointsReport:
    """Ask the process at each address (a URL) for its worst endpoints."""
    with ThreadPoolExecutor(max(1, min(16, len(addresses)))) as threads:
        answers = list(threads.map(lambda address: _ask(address, limit), addresses))
    pages = [answer for answer in answers if not isinstance(answer, str)]
    silent = {address: why for address, why in zip(addresses, answers, strict=True) if isinstance(why, str)}
    rows = merged(row for _, rows in pages for row in rows)
    return EndpointsReport(tuple(rows[:limit]), sum(disabled for disabled, _ in pages), len(addresses), silent)


def merged(rows: Iterable[EndpointRow]) -> list[EndpointRow]:
    """Return the rows, worst first, with one for each subscription: two processes may have one of it for a moment."""
    by_id: dict[str, EndpointRow] = {}
    for row in rows:
        other = by_id.get(row.subscription_id)
        if other is None or rank(row) < rank(other):
            by_id[row.subscription_id] = row
    return sorted(by_id.values(), key=rank)


def _ask(address: str, limit: int) -> tuple[int, list[EndpointRow]] | str:
    """Return how many are disabled, and the rows; a sentence if there is no response."""
    try:
        answer = httpx.get(f"{address}/endpoints", params={"limit": limit}, timeout=_TIMEOUT_S, trust_env=False)
        if answer.is_success:
            page: dict[str, Any] = answer.json()
            return int(page["disabled"]), [row_of(fields) for fields in page["endpoints"]]
    except httpx.TimeoutException:
        return f"no answer within {_TIMEOUT_S:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    except (ValueError, KeyError, TypeError):
        return "what answers there is no delivery process of this version"
    if answer.status_code == httpx.codes.NOT_FOUND:
        return "what answers there is no delivery process of this version"
    return answer.text.strip()[:200] or f"HTTP {answer.status_code}"
