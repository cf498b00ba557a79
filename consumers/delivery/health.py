"""Whether endpoints are well: failing since when, disabled or not. Pure; what is to be written is handed out.

An endpoint fails while none of its attempts succeed. That is written once it has lasted a minute, reported once it has
lasted an hour, and disables it once it has lasted five days, or at once where the endpoint answered 410. What is known
names the activation of the subscription that it judged, and is void for a higher one: `resume` begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from schemas.delivery import Job
from schemas.health import DisabledReason, Health, Operation, OperationKind

WRITE_AFTER_MS: Final = 60_000
# Nothing is known of the time between two failures that lie further apart (a day is the longest wait of a schedule): an
# endpoint that gets few events, or a pause of Signpost itself, is no failure that lasts.
GAP_MS: Final = 48 * 3_600_000
# So a failure that goes on is written again, for whoever takes the partition over.
_WRITE_AGAIN_MS: Final = 12 * 3_600_000


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """How long an endpoint has to fail before that is reported, and before it is disabled (None: never)."""

    report_after_ms: int
    disable_after_ms: int | None
    disable_when_gone: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """What follows from an answer: the state to write (None: nothing is wrong any more), and what to report."""

    subscription_id: str
    health: Health | None
    operation: Operation | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """What is known of an endpoint, and when its record was written last, in Unix ms (None: there is none)."""

    health: Health
    written_ms: int | None


class HealthBook:
    """What is known of the endpoints of the partitions that are ours."""

    def __init__(self, policy: HealthPolicy) -> None:
        self._policy = policy
        self.known: dict[str, Noted] = {}
        self._of_partition: dict[int, set[str]] = {}

    def load(self, partition: int, found: Mapping[str, Health]) -> None:
        """Take over what was written for a partition; what was known of it here is forgotten."""
        self.drop([partition])
        self.known.update({id_: Noted(health, health.updated_at_ms) for id_, health in found.items()})
        self._of_partition[partition] = set(found)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget partitions that were lost."""
        for partition in partitions:
            for id_ in self._of_partition.pop(partition, ()):
                self.known.pop(id_, None)

    def keep(self, partitions: Iterable[int]) -> None:
        """Forget all partitions but these."""
        self.drop(set(self._of_partition).difference(partitions))

    def is_disabled(self, subscription_id: str, activation: int) -> bool:
        """Tell whether nothing may be sent for a subscription of this activation. Asked for each job."""
        known = self.known.get(subscription_id)
        return known is not None and known.health.disables(activation)

    def of(self, subscription_id: str) -> Health | None:
        """Return what is known of an endpoint; None if nothing is wrong."""
        known = self.known.get(subscription_id)
        return known.health if known else None

    def partition_of(self, subscription_id: str) -> int | None:
        """Return the number of the partition that an endpoint's record is on, looking through all."""
        return next((number for number, ids in self._of_partition.items() if subscription_id in ids), None)

    @property
    def disabled(self) -> int:
        """Number of endpoints that are disabled (of any activation)."""
        return sum(known.health.disabled_at_ms is not None for known in self.known.values())

    def delivered(self, partition: int, job: Job, activation: int, now_ms: int) -> Change | None:
        """Note a 2xx to an attempt that was made under `activation`."""
        known = self.known.get(job.subscription_id)
        if known is None or known.health.activation > activation or known.health.disables(activation):
            return None
        health = known.health
        self._forget(partition, job.subscription_id)
        if known.written_ms is None:
            return None
        recovered = health.reported and health.activation == activation
        return Change(
            job.subscription_id, None, _operation("endpoint_recovered", health, now_ms) if recovered else None
        )

    def failed(self, partition: int, job: Job, activation: int, now_ms: int, why: int | str) -> Change | None:
        """Note an attempt under `activation` that failed: `why` is its status or, without an answer, the error."""
        health = self._current(partition, job, activation, now_ms)
        if health is None:
            return None
        status, error = (why, None) if isinstance(why, int) else (None, why)
        health = replace(health, last_status=status, last_error=error, updated_at_ms=now_ms)
        if status == 410 and self._policy.disable_when_gone:
            return self._disable(partition, health, "gone")
        lasted_ms = now_ms - health.failing_since_ms
        if self._policy.disable_after_ms is not None and lasted_ms >= self._policy.disable_after_ms:
            return self._disable(partition, health, "failing")
        report = not health.reported and lasted_ms >= self._policy.report_after_ms
        known = self.known.get(job.subscription_id)
        written_ms = None if known is None else known.written_ms
        write = report or (written_ms is None and lasted_ms >= WRITE_AFTER_MS)
        # What is written is not to be older than what counts by much, nor of an earlier failure.
        if written_ms is not None and known is not None:
            is_another = known.health.failing_since_ms != health.failing_since_ms
            write = write or is_another or now_ms - written_ms >= _WRITE_AGAIN_MS
        health = replace(health, reported=health.reported or report)
        self._keep(partition, health, now_ms if write else written_ms)
        if not write:
            return None
        operation = _operation("endpoint_failing", health, now_ms) if report else None
        return Change(job.subscription_id, health, operation)

    def deleted(self, partition: int, subscription_id: str) -> Change | None:
        """Note that there is no such subscription any more."""
        known = self.known.get(subscription_id)
        if known is None:
            return None
        self._forget(partition, subscription_id)
        return None if known.written_ms is None else Change(subscription_id, None)

    def _current(self, partition: int, job: Job, activation: int, now_ms: int) -> Health | None:
        """Return what is to be judged on, None if the answer is to an attempt from before a `resume`, or too late."""
        known = self.known.get(job.subscription_id)
        if known is not None and known.health.activation > activation:
            return None
        if known is not None and known.health.activation == activation:
            if known.health.disabled_at_ms is not None:
                return None
            if now_ms - known.health.updated_at_ms <= GAP_MS:
                return known.health
        return Health(
            subscription_id=job.subscription_id,
            customer_id=job.customer_id,
            sender=job.sender,
            activation=activation,
            failing_since_ms=now_ms,
            reported=False,
            disabled_at_ms=None,
            reason="",
            last_status=None,
            last_error=None,
            updated_at_ms=now_ms,
        )

    def _disable(self, partition: int, health: Health, reason: DisabledReason) -> Change:
        health = replace(health, disabled_at_ms=health.updated_at_ms, reason=reason)
        self._keep(partition, health, health.updated_at_ms)
        return Change(health.subscription_id, health, _operation("endpoint_disabled", health, health.updated_at_ms))

    def _keep(self, partition: int, health: Health, written_ms: int | None) -> None:
        self.known[health.subscription_id] = Noted(health, written_ms)
        self._of_partition.setdefault(partition, set()).add(health.subscription_id)

    def _forget(self, partition: int, subscription_id: str) -> None:
        del self.known[subscription_id]
        self._of_partition.get(partition, set()).discard(subscription_id)


def _operation(kind: OperationKind, health: Health, now_ms: int) -> Operation:
    return Operation(
        kind=kind,
        at_ms=now_ms,
        subscription_id=health.subscription_id,
        customer_id=health.customer_id,
        sender=health.sender,
        since_ms=health.failing_since_ms,
        reason=health.reason,
        status=health.last_status,
        error=health.last_error,
    )
