"""A delivery task: a job that was read and is not finished yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consumers.delivery.endpoint import Endpoint
from consumers.delivery.partitions.partition_state import PartitionState
from schemas.delivery import UNKNOWN_OFFSET, Job


@dataclass(slots=True, eq=False)
class DeliveryTask:
    """A job and the record that it was read from.

    The scheduler writes the other fields: `endpoint` and `started_ms` (Unix ms) when an attempt starts, `barrier` when
    the subscription's record was missed first.
    """

    job: Job
    partition: PartitionState
    offset: int
    value: bytes
    endpoint: Endpoint | None = None
    started_ms: int = 0
    pace: Any = None  # of its endpoint, while it waits or runs (pacing.Paced)
    ticket: int | None = None
    barrier: int | None = None

    @property
    def first_offset(self) -> int:
        """Offset of the job's first record in `jobs.0s`, where its body can be read again."""
        return self.offset if self.job.first_offset == UNKNOWN_OFFSET else self.job.first_offset
