"""Tracks the health of endpoints: failing since when, disabled or not. Pure: returns changes as data.

An endpoint is failing while none of its attempts succeed. A failure that lasts a minute is recorded. One that lasts
`report_failing_after` is reported, and one that lasts `disable_failing_after` disables the subscription. A 410 disables
it at once (`disable_gone`). A health record names the activation of its subscription and is void for a higher one:
`resume` starts a new activation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from consumers.delivery.classification import Classified, ResponseKind
from schemas.records.delivery import Job
from schemas.records.health import DisabledReason, Health, Operation, OperationKind

WRITE_AFTER_MS: Final = 60_000
# Failures further apart than this do not make one lasting failure: the endpoint gets few events, or Signpost did not
# run. The longest wait of a schedule is a day.
GAP_MS: Final = 48 * 3_600_000
# A failure that continues is written again after this time, for a process that recovers the partition.
_WRITE_AGAIN_MS: Final = 12 * 3_600_000


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """How long an endpoint has to fail until that is reported, and until it is disabled (None: never)."""

    report_after_ms: int
    disable_after_ms: int | None
    disable_when_gone: bool = True


@dataclass(frozen=True, slots=True)
class HealthChange:
    """The health record to write (None: a tombstone, the endpoint is healthy again), and the operation to report."""

    subscription_id: str
    health: Health | None
    operation: Operation | None = None


@dataclass(frozen=True, slots=True)
class TrackedHealth:
    """The health of an endpoint, and when its record was last written, in Unix ms (None: there is no record)."""

    health: Health
    written_ms: int | None


class HealthTracker:
    """The health of the endpoints of our partitions. `known` holds those that are failing or disabled."""

    def __init__(self, policy: HealthPolicy) -> None:
        self._policy = policy
        self.known: dict[str, TrackedHealth] = {}
        self._of_partition: dict[int, set[str]] = {}

    def load(self, partition: int, found: Mapping[str, Health]) -> None:
        """Replace the health of a partition number by that of its records."""
        self.drop([partition])
        self.known.update({id_: TrackedHealth(health, health.updated_at_ms) for id_, health in found.items()})
        self._of_partition[partition] = set(found)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget the health of lost partition numbers."""
        for partition in partitions:
            for id_ in self._of_partition.pop(partition, ()):
                self.known.pop(id_, None)

    def keep(self, partitions: Iterable[int]) -> None:
        """Forget the health of all partition numbers but these."""
        self.drop(set(self._of_partition).difference(partitions))

    def is_disabled(self, subscription_id: str, activation: int) -> bool:
        """Whether a subscription of this activation is disabled. Called for each job."""
        known = self.known.get(subscription_id)
        return known is not None and known.health.disables(activation)

    def of(self, subscription_id: str) -> Health | None:
        """Return the health of an endpoint; None: it is healthy."""
        known = self.known.get(subscription_id)
        return known.health if known else None

    def partition_of(self, subscription_id: str) -> int | None:
        """Return the partition number of an endpoint's record. Searches all partitions."""
        return next((number for number, ids in self._of_partition.items() if subscription_id in ids), None)

    @property
    def disabled(self) -> int:
        """Number of disabled endpoints, of any activation."""
        return sum(known.health.disabled_at_ms is not None for known in self.known.values())

    def delivered(self, partition: int, job: Job, activation: int, now_ms: int) -> HealthChange | None:
        """Take in a 2xx to an attempt that was made under `activation`."""
        known = self.known.get(job.subscription_id)
        if known is None or known.health.activation > activation or known.health.disables(activation):
            return None
        health = known.health
        self._forget(partition, job.subscription_id)
        if known.written_ms is None:
            return None
        recovered = health.reported and health.activation == activation
        return HealthChange(
            job.subscription_id, None, _operation("endpoint_recovered", health, now_ms) if recovered else None
        )

    def failed(
        self, partition: int, job: Job, activation: int, now_ms: int, classified: Classified
    ) -> HealthChange | None:
        """Take in a failed attempt that was made under `activation`."""
        health = self._current(partition, job, activation, now_ms)
        if health is None:
            return None
        health = replace(health, last_status=classified.status, last_error=classified.error, updated_at_ms=now_ms)
        if classified.kind is ResponseKind.GONE and self._policy.disable_when_gone:
            return self._disable(partition, health, "gone")
        lasted_ms = now_ms - health.failing_since_ms
        if self._policy.disable_after_ms is not None and lasted_ms >= self._policy.disable_after_ms:
            return self._disable(partition, health, "failing")
        report = not health.reported and lasted_ms >= self._policy.report_after_ms
        known = self.known.get(job.subscription_id)
        written_ms = None if known is None else known.written_ms
        write = report or (written_ms is None and lasted_ms >= WRITE_AFTER_MS)
        # The record is of an earlier failure, or much older than the state in memory.
        if written_ms is not None and known is not None:
            is_another = known.health.failing_since_ms != health.failing_since_ms
            write = write or is_another or now_ms - written_ms >= _WRITE_AGAIN_MS
        health = replace(health, reported=health.reported or report)
        self._keep(partition, health, now_ms if write else written_ms)
        if not write:
            return None
        operation = _operation("endpoint_failing", health, now_ms) if report else None
        return HealthChange(job.subscription_id, health, operation)

    def deleted(self, partition: int, subscription_id: str) -> HealthChange | None:
        """Take in that a subscription was deleted."""
        known = self.known.get(subscription_id)
        if known is None:
            return None
        self._forget(partition, subscription_id)
        return None if known.written_ms is None else HealthChange(subscription_id, None)

    def _current(self, partition: int, job: Job, activation: int, now_ms: int) -> Health | None:
        """Return the health to update; None if the attempt predates a `resume`, or the subscription is disabled."""
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

    def _disable(self, partition: int, health: Health, reason: DisabledReason) -> HealthChange:
        health = replace(health, disabled_at_ms=health.updated_at_ms, reason=reason)
        self._keep(partition, health, health.updated_at_ms)
        return HealthChange(
            health.subscription_id, health, _operation("endpoint_disabled", health, health.updated_at_ms)
        )

    def _keep(self, partition: int, health: Health, written_ms: int | None) -> None:
        self.known[health.subscription_id] = TrackedHealth(health, written_ms)
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
