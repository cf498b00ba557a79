"""The audit record of a change: what changed, and who changed it. Pure."""

from __future__ import annotations

from typing import Final

from producers.compacted.author import Author
from producers.compacted.partition_owner import SideRecord
from producers.subscriptions.changes import Current, Effect, Result
from schemas.records.health import Operation, OperationKind, encode_operation
from schemas.subscriptions.subscription import Subscription

# All other effects are changes.
_KINDS: Final[dict[Effect, OperationKind]] = {"created": "subscription_created", "deleted": "subscription_deleted"}
# The changed fields of effects whose results name none.
_CHANGED: Final[dict[Effect, tuple[str, ...]]] = {
    "paused": ("paused",),
    "resumed": ("paused",),
    "resealed": ("sealing_key",),
}


def audit_record(topic: str, result: Result, before: Current, author: Author, now_ms: int) -> SideRecord:
    """Return the record about a result; `before` is the record that it replaces, `topic` is `operations`."""
    known = result.subscription or (before if isinstance(before, Subscription) else None)
    operation = Operation(
        kind=_KINDS.get(result.effect, "subscription_changed"),
        at_ms=now_ms,
        subscription_id=result.id,
        customer_id=known.customer_id if known is not None else None,
        sender=known.sender if known is not None else None,
        actor=author.name,
        request_id=author.request_id,
        changed=result.changed or _CHANGED.get(result.effect, ()),
    )
    return SideRecord(topic, result.id.encode(), encode_operation(operation))
