"""The worst endpoints of all delivery processes: request them from each process and merge them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import httpx

from consumers.delivery.endpoint_report import EndpointRow, rank, row_of

_TIMEOUT_S: Final = 5.0
_NOT_DELIVERY: Final = "the server there is no delivery process of this version"


@dataclass(frozen=True, slots=True)
class EndpointsReport:
    """Endpoints, worst first, the number of disabled subscriptions, and the processes that do not respond.

    `silent` has a reason for each address without a response.
    """

    endpoints: tuple[EndpointRow, ...]
    disabled: int
    asked: int
    silent: Mapping[str, str]


def ask(addresses: Sequence[str], limit: int) -> EndpointsReport:
    """Request the worst endpoints of the process at each address (a URL)."""
    with ThreadPoolExecutor(max(1, min(16, len(addresses)))) as threads:
        results = list(threads.map(lambda address: _ask(address, limit), addresses))
    pages = [result for result in results if not isinstance(result, str)]
    silent = {address: why for address, why in zip(addresses, results, strict=True) if isinstance(why, str)}
    rows = merged(row for _, rows in pages for row in rows)
    return EndpointsReport(tuple(rows[:limit]), sum(disabled for disabled, _ in pages), len(addresses), silent)


def merged(rows: Iterable[EndpointRow]) -> list[EndpointRow]:
    """Return the rows, worst first, with one per subscription: two processes may have a row of it for a moment."""
    by_id: dict[str, EndpointRow] = {}
    for row in rows:
        other = by_id.get(row.subscription_id)
        if other is None or rank(row) < rank(other):
            by_id[row.subscription_id] = row
    return sorted(by_id.values(), key=rank)


def _ask(address: str, limit: int) -> tuple[int, list[EndpointRow]] | str:
    """Return the number of disabled subscriptions and the rows, or a sentence if there is no response."""
    try:
        response = httpx.get(f"{address}/endpoints", params={"limit": limit}, timeout=_TIMEOUT_S, trust_env=False)
        if response.is_success:
            page: dict[str, Any] = response.json()
            return int(page["disabled"]), [row_of(fields) for fields in page["endpoints"]]
    except httpx.TimeoutException:
        return f"no response within {_TIMEOUT_S:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    except (ValueError, KeyError, TypeError):
        return _NOT_DELIVERY
    if response.status_code == httpx.codes.NOT_FOUND:
        return _NOT_DELIVERY
    return response.text.strip()[:200] or f"HTTP {response.status_code}"
