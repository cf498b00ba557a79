"""The HTTP client: HTTP/1.1 over our own sockets, driven by one thread that never blocks on one endpoint.

types.py             requests and what comes of them: responses, transport errors
client.py            HttpClient: starts requests, returns completed ones and those that the caller has to confirm
options.py           trusted authorities, forward proxy, limits of connections
resolver.py          names to checked addresses, by c-ares; resolver_queue.py: requests that wait for a name
proxy.py             a forward proxy: its settings, how targets are reached through it, CONNECT
connector.py         TCP connections by Happy Eyeballs (RFC 8305)
handshake.py         from a TCP connection to one that takes requests: CONNECT and TLS
tls.py               TLS contexts, sessions, TLS within TLS, OpenSSL's errors translated
connection.py        one connection: what can be sent and received without waiting
connection_pool.py   idle connections
exchange.py          one request and its response, and what they mean when they end
request_encoder.py   a request to bytes; response_parser.py: bytes to a response
readiness.py         epoll or kqueue
failures.py          errors of the system and of OpenSSL, translated to kinds of failure
"""
