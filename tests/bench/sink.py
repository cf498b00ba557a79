"""A cheap HTTP server: nginx that responds with 200 and counts requests. Below /failing it responds with 500."""

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
        location /failing/ {{ return 500; }}
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
    """Runs nginx on a free port, as a context manager; `requests` returns the number of its responses.

    With a file of certificate and key it serves TLS at `tls_port` as well. Unavailable if nginx is not installed.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/bin")
        if program is None:
            raise Unavailable(
                "nginx, the sink of the benchmarks, is missing: apt-get install nginx-light, or brew install nginx"
            )
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
        self._own_requests = 0

    def requests(self) -> int:
        """Return the number of responses, without those of this method."""
        self._connection.request("GET", "/requests")
        counters = self._connection.getresponse().read().decode().splitlines()[2].split()
        self._own_requests += 1
        return int(counters[2]) - self._own_requests

    def counted(self) -> Callable[[], float]:
        """Return a function that counts the requests from now on; it takes no CPU from the measured process."""
        before = self.requests()
        return lambda: self.requests() - before

    def __enter__(self) -> Self:
        wait_until(self._responds, what="nginx responds")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _responds(self) -> bool:
        if self._process.poll() is not None:
            raise Unavailable(f"nginx ended with exit code {self._process.returncode}")
        try:
            return self.requests() >= 0
        except OSError:
            self._connection.close()
            return False
