"""An HTTP server that costs as little as one can: nginx that answers 200 and counts."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from deploy.dev.kafka import free_port
from schemas.catalog.errors import Unavailable
from tests.support.waiting import wait_until

_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /requests {{ stub_status; }}
        location / {{ return 200; }}
    }}
{tls}}}
"""
_TLS = """    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {file};
        ssl_certificate_key {file};
        location / {{ return 200; }}
    }}
"""


class Sink:
    """A context manager: nginx on a free port; `requests` says how many it has answered.

    With a file of certificate and key it answers over TLS at `tls_port` as well.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/bin")
        if program is None:
            raise Unavailable("nginx is the sink of the benchmarks: apt-get install nginx-light, or brew install nginx")
        self._folder = Path(tempfile.mkdtemp(prefix="signpost-bench-"))
        self.port = free_port()
        self.tls_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = self._folder / "nginx.conf"
        tls = "" if certificate is None else _TLS.format(port=self.tls_port, file=certificate)
        config.write_text(_CONFIG.format(folder=self._folder, port=self.port, tls=tls))
        command = [program, "-p", str(self._folder), "-c", str(config), "-e", str(self._folder / "error.log")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        self._own = 0

    def requests(self) -> int:
        """Return how many requests were answered, those that ask for it left out."""
        self._connection.request("GET", "/requests")
        counters = self._connection.getresponse().read().decode().splitlines()[2].split()
        self._own += 1
        return int(counters[2]) - self._own

    def counted(self) -> Callable[[], float]:
        """Return what counts requests from here on: the sink knows, and asking it costs the process nothing."""
        before = self.requests()
        return lambda: self.requests() - before

    def __enter__(self) -> Self:
        wait_until(self._answers, what="nginx answers")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise Unavailable(f"nginx ended with exit code {self._process.returncode}")
        try:
            return self.requests() >= 0
        except OSError:
            self._connection.close()
            return False
