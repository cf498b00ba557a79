"""The HTTP client: HTTP/1.1 over our own sockets, driven by one thread that never blocks on one endpoint.

types.py             requests, responses, transport errors
client.py            HttpClient: starts requests, returns completed ones and those that the caller has to confirm
options.py           trusted authorities, forward proxy, limits of connections
resolver.py          DNS by c-ares: names to addresses that the egress policy allows
resolver_queue.py    requests that wait for DNS
proxy.py             forward proxy: settings, resolving through it, CONNECT
connector.py         TCP connections by Happy Eyeballs (RFC 8305)
handshake.py         CONNECT and TLS on a new TCP connection
tls.py               TLS contexts, sessions, TLS within TLS, OpenSSL's errors translated
connection.py        one connection: non-blocking send and receive
connection_pool.py   idle connections
exchange.py          one request and its response, and how they end
request_encoder.py   requests to bytes
response_parser.py   bytes to responses
readiness.py         epoll or kqueue
failures.py          system and OpenSSL errors, translated to kinds of failure
"""
