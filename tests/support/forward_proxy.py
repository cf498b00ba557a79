"""A forward proxy of the tests: HTTP's CONNECT, and nothing else."""

from __future__ import annotations

import base64
import select
import socket
import ssl
from collections.abc import Mapping

from tests.support.listening import serve_each, stop_listening


class ForwardProxy:
    """Listens on a free port of 127.0.0.1. `heard` holds the head of every request, `tunnels` counts what it made.

    `status` other than 200 refuses, 0 says nothing; `credentials` (user:password) are asked for where there are any;
    `names` are the hosts that it knows by themselves. With `tls` it takes no connections in the clear. `response` is
    sent in place of one of HTTP.
    """

    def __init__(
        self,
        *,
        status: int = 200,
        credentials: str = "",
        names: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        response: bytes | None = None,
    ) -> None:
        self.status = status
        self._tls = tls
        self._response = response
        self._credentials = base64.b64encode(credentials.encode()).decode()
        self._names = names or {}
        self.heard: list[str] = []
        self.tunnels = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        serve_each(self._listener, self._serve)

    def close(self) -> None:
        """Take no more connections."""
        stop_listening(self._listener)

    def _serve(self, connection: socket.socket) -> None:
        if self._tls is None:
            self._converse(connection)
        else:
            with self._tls.wrap_socket(connection, server_side=True) as secured:
                self._converse(secured)

    def _converse(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(65_536)
            if not more:
                return
            head += more
        text = head.decode("latin-1")
        self.heard.append(text)
        status = self._judge(text)
        if status == 0:
            connection.recv(1)
            return
        if self._response is not None:
            connection.sendall(self._response)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):  # unread bytes would make the close a reset
                pass
            return
        connection.sendall(f"HTTP/1.1 {status} Told by the proxy\r\nX-Proxy: yes\r\n\r\n".encode())
        if status == 200:
            self._tunnel(connection, text.split(" ")[1])

    def _judge(self, head: str) -> int:
        if not head.startswith("CONNECT "):
            return 405
        if self._credentials and f"Proxy-Authorization: Basic {self._credentials}\r\n" not in head:
            return 407
        return self.status

    def _tunnel(self, connection: socket.socket, authority: str) -> None:
        host, _, port = authority.rpartition(":")
        host = self._names.get(host, host).strip("[]")
        with socket.create_connection((host, int(port))) as other:
            self.tunnels += 1
            while True:
                for ready in select.select([connection, other], [], [])[0]:
                    data = ready.recv(65_536)
                    while isinstance(ready, ssl.SSLSocket) and ready.pending():
                        data += ready.recv(65_536)
                    if not data:
                        return
                    (other if ready is connection else connection).sendall(data)
