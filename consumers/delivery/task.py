"""A delivery task: a job that was read and is not finished yet."""

from __future__ import annotations

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.job_trace import JobTrace
from consumers.delivery.partitions.partition_state import PartitionState
from schemas.records.delivery import UNKNOWN_OFFSET, Job


class DeliveryTask(AdmittedTask):
    """A job and the record that it was read from.

    Only the scheduler writes the fields of this class: `endpoint` and `started_ms` (Unix ms) when an attempt starts,
    `barrier` when the table lacked the subscription record for the first time, `trace` if the record has a trace
    context and traces are on. Only admission control writes the fields of the base class.
    """

    __slots__ = ("barrier", "endpoint", "job", "offset", "partition", "started_ms", "trace", "value")

    def __init__(self, job: Job, partition: PartitionState, offset: int, value: bytes) -> None:
        # The fields of the base class. Calling its constructor for each job would be slower.
        self.endpoint_state = None
        self.limited = False
        self.permit = None
        self.job = job
        self.partition = partition
        self.offset = offset
        self.value = value
        self.endpoint: Endpoint | None = None
        self.started_ms = 0
        self.barrier: int | None = None
        self.trace: JobTrace | None = None

    @property
    def first_offset(self) -> int:
        """Offset of the job's first record in `jobs.0s`, where its body can be read again."""
        return self.offset if self.job.first_offset == UNKNOWN_OFFSET else self.job.first_offset
