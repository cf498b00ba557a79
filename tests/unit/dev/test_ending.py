"""A process of ours ends with the code that it means."""

from __future__ import annotations

import pytest

from tests.support.processes import python

# What Python takes away when it ends stays away for as long as the C library waits here: until a signal comes.
_ASKS_AND_ENDS = """
import ctypes, sys
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from deploy.roles.ending import leave

libc = ctypes.CDLL(None)
libc["__cxa_atexit"](libc.pause, None, None)
admin = AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
ctypes.pythonapi.Py_IncRef(ctypes.py_object(admin))  # as if a thread still held it
admin.list_offsets({TopicPartition("none", 0): OffsetSpec.latest()}, request_timeout=0.5)
print("asked")
"""


@pytest.mark.parametrize("code", [0, 1])
def test_an_answer_that_comes_too_late_does_not_end_the_process(code: int) -> None:
    """A process that ends while a question to the cluster is open ends with its own code, and all it said is read."""
    with python(f"{_ASKS_AND_ENDS}\nleave({code})") as process:
        said, _ = process.communicate(timeout=60)

    assert (process.returncode, said) == (code, "asked\n")
