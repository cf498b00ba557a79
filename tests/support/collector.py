"""Where roles export their traces in tests: to the receiver of the test, directly or through a real collector."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path

from deploy.dev import kafka, parent_bound
from tests.support.otlp import OtlpReceiver
from tests.support.parts import COLLECTORS, need
from tests.support.waiting import wait_until

_CONFIG = """
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:{port}
exporters:
  otlphttp:
    endpoint: {url}
    compression: none
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlphttp]
"""


@contextmanager
def otlp_endpoint(kind: str, receiver: OtlpReceiver, folder: Path) -> Iterator[str]:
    """Yield the value of OTEL_EXPORTER_OTLP_ENDPOINT; `kind` is `direct`, or `collector` for a real one in between."""
    if kind == "direct":
        yield receiver.url
        return
    need("otelcol")
    port = kafka.free_port()
    config = folder / "collector.yaml"
    config.write_text(_CONFIG.format(port=port, url=receiver.url), encoding="utf-8")
    program = next(path for name in COLLECTORS if (path := shutil.which(name)))
    with (folder / "collector.log").open("wb") as log:
        process = parent_bound.start(
            [program, "--config", str(config)],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            on_parent_death=signal.SIGKILL,
            grace=timedelta(seconds=1),
        )
    try:
        wait_until(lambda: _responds(port), what="the collector listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()


def _responds(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/traces")
        return connection.getresponse().status > 0
    except OSError:
        return False
    finally:
        connection.close()
