"""/endpoints of a delivery process: the worst endpoints, as JSON."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from consumers.delivery.endpoint_report import MOST, EndpointReport
from consumers.service.snapshots import Snapshots
from schemas.catalog.errors import InvalidInput


def endpoints_page(endpoint_reports: Snapshots[EndpointReport], query: Mapping[str, str]) -> bytes:
    """Return the page. `limit` in the query is the maximum number of endpoints.

    InvalidInput if the limit is not a number; Unavailable if the loop does not respond.
    """
    text = query.get("limit", "50")
    if not text.isdecimal() or not 0 < int(text) <= MOST:
        raise InvalidInput(f"limit: {text[:20]!r} is not a number from 1 to {MOST}")
    overview = endpoint_reports.ask()
    page = {"at_ms": overview.at_ms, "disabled": overview.disabled, "endpoints": overview.endpoints[: int(text)]}
    return orjson.dumps(page)
