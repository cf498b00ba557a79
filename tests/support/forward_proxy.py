"""A forward proxy for tests: HTTP CONNECT only."""

from __future__ import annotations

import base64
import selectors
import socket
import ssl
from collections.abc import Mapping

from tests.support.listening import serve_each, stop_listening


class ForwardProxy:
    """Listens on a free port of 127.0.0.1. `requests` has the head of every request, `tunnels` counts tunnels.

    - `status`: 200 opens a tunnel, 0 sends no response, any other one refuses.
    - `credentials`: required user:password; empty: none.
    - `names`: hosts that it resolves by itself.
    - `only`: ports of 127.0.0.1 by host. It opens tunnels to these hosts only, for any port that the request names.
    - `tls`: accept TLS connections only.
    - `response`: bytes to send in place of an HTTP response.
    """

    def __init__(
        self,
        *,
        status: int = 200,
        credentials: str = "",
        names: Mapping[str, str] | None = None,
        only: Mapping[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
        response: bytes | None = None,
    ) -> None:
        self.status = status
        self._tls = tls
        self._response = response
        self._credentials = base64.b64encode(credentials.encode()).decode()
        self._names = names or {}
        self._only = only
        self.requests: list[str] = []
        self.tunnels = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        serve_each(self._listener, self._serve)

    def close(self) -> None:
        """Stop listening."""
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
        self.requests.append(text)
        status = self._status_for(text)
        if status == 0:
            connection.recv(1)
            return
        if self._response is not None:
            connection.sendall(self._response)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):  # unread bytes would make the close a reset
                pass
            return
        connection.sendall(f"HTTP/1.1 {status} From the proxy\r\nX-Proxy: yes\r\n\r\n".encode())
        if status == 200:
            self._tunnel(connection, text.split(" ")[1])

    def _status_for(self, head: str) -> int:
        if not head.startswith("CONNECT "):
            return 405
        if self._credentials and f"Proxy-Authorization: Basic {self._credentials}\r\n" not in head:
            return 407
        if self._only is not None and _host_of(head) not in self._only:
            return 502
        return self.status

    def _tunnel(self, connection: socket.socket, authority: str) -> None:
        host, _, number = authority.rpartition(":")
        if self._only is None:
            host, port = self._names.get(host, host).strip("[]"), int(number)
        else:
            host, port = "127.0.0.1", self._only[host]
        with socket.create_connection((host, port)) as other, selectors.DefaultSelector() as selector:
            self.tunnels += 1
            for end in (connection, other):
                selector.register(end, selectors.EVENT_READ)
            while True:
                for ready in (key.fileobj for key, _ in selector.select()):
                    assert isinstance(ready, socket.socket)
                    data = ready.recv(65_536)
                    while isinstance(ready, ssl.SSLSocket) and ready.pending():
                        data += ready.recv(65_536)
                    if not data:
                        return
                    (other if ready is connection else connection).sendall(data)


def _host_of(head: str) -> str:
    return head.split(" ")[1].rpartition(":")[0]
