"""/endpoints of a delivery process: the endpoints that need somebody's eye, as JSON."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from consumers.delivery.admission import AdmissionControl
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.health import HealthBook
from consumers.delivery.overview import MOST, Overview, Overviews
from consumers.delivery.reader import Reader
from consumers.runtime.snapshots import Snapshots
from consumers.table import SubscriptionTable
from schemas.errors import InvalidInput
from schemas.partitioner import partition_of
from schemas.settings import Settings


def overviews_of(
    settings: Settings,
    admission: AdmissionControl,
    health: HealthBook,
    table: SubscriptionTable[Endpoint],
    reader: Reader,
) -> Overviews:
    """Return what makes overviews of a delivery process of these parts."""

    def subscription(id_: str) -> Endpoint | None:
        entry = table.get(id_)
        return None if entry is None else entry.value

    def owned() -> set[int]:
        return {lane.partition for lane in reader.lanes.values()}

    return Overviews(admission, health, subscription, lambda id_: partition_of(id_, settings.partitions), owned)


def endpoints_page(overviews: Snapshots[Overview], query: Mapping[str, str]) -> bytes:
    """Return the page; `limit` in the query is how many endpoints are told at most.

    InvalidInput: the limit is no number. Unavailable: the loop does not answer.
    """
    text = query.get("limit", "50")
    if not text.isdecimal() or not 0 < int(text) <= MOST:
        raise InvalidInput(f"limit: {text[:20]!r} is not a number from 1 to {MOST}")
    overview = overviews.ask()
    told = {"at_ms": overview.at_ms, "disabled": overview.disabled, "endpoints": overview.endpoints[: int(text)]}
    return orjson.dumps(told)
