"""A process ends with its intended exit code."""

from __future__ import annotations

import pytest

from tests.support.processes import python

# After Python is finalized, the C library waits in this exit handler until a signal arrives.
_EXIT_DURING_REQUEST = """
import ctypes, sys
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from deploy.roles.process_exit import exit_process

libc = ctypes.CDLL(None)
libc["__cxa_atexit"](libc.pause, None, None)
admin = AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
ctypes.pythonapi.Py_IncRef(ctypes.py_object(admin))  # as if a thread still held it
admin.list_offsets({TopicPartition("none", 0): OffsetSpec.latest()}, request_timeout=0.5)
print("requested")
"""


@pytest.mark.parametrize("code", [0, 1])
def test_late_response_does_not_change_the_exit_code(code: int) -> None:
    """A process that ends during a request to the cluster keeps its exit code, and its output is complete."""
    with python(f"{_EXIT_DURING_REQUEST}\nexit_process({code})") as process:
        output, _ = process.communicate(timeout=60)

    assert (process.returncode, output) == (code, "requested\n")
