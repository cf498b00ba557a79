"""A process that authenticates API keys: `python -m tests.support.api_keys BOOTSTRAP PREFIX SEALING_KEY_HEX`.

Each line of its input is a key; the answer is the id of the key, or a dash.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from producers.keys.service import ApiKeys
from schemas.records.topics import TopicNames


class OtherProcess:
    """Asks a process what it thinks of keys."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def authenticate(self, text: str) -> str | None:
        """Return the id of the key that a text is, or None."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer, "the process has ended"
        return None if answer == "-" else answer


@contextmanager
def other_process(bootstrap_servers: str, prefix: str, sealing_key: bytes) -> Iterator[OtherProcess]:
    """Yield a process of its own with a table of API keys."""
    command = [sys.executable, "-m", __name__, bootstrap_servers, prefix, sealing_key.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield OtherProcess(process)
        finally:
            process.kill()


def _main(bootstrap_servers: str, prefix: str, sealing_key: str) -> None:
    kafka = {"bootstrap.servers": bootstrap_servers}
    keys = ApiKeys(kafka, TopicNames(prefix), [bytes.fromhex(sealing_key)], rate_limit=0)
    keys.start()
    for line in sys.stdin:
        found = keys.authenticate(line.strip())
        print("-" if found is None else found.id, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
