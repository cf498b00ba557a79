"""What a broker in a container and one in a JVM share: the folder with its data, and its address."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path


class LocalBroker:
    """A broker on this machine with its data in `data`, or in a temporary folder that is removed at the end."""

    port: int

    def __init__(self, data: Path | None) -> None:
        self._temporary = data is None
        self.data = data.absolute() if data else Path(tempfile.mkdtemp(prefix="signpost-kafka-"))

    @property
    def bootstrap_servers(self) -> str:
        """`127.0.0.1:<port>`."""
        return f"127.0.0.1:{self.port}"

    @property
    def _data_text(self) -> str:
        """Where the data is, for people."""
        return "temporary data" if self._temporary else f"data in {self.data}"

    def _remove_temporary_data(self) -> None:
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)
