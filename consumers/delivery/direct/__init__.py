"""HTTP/1.1 over sockets of our own, where no proxy and no HTTP/2 is wanted: half of the CPU that libcurl takes.

wire.py       a request, as bytes
response.py   what comes back, as bytes: pure
exchange.py   a request and its response, and what they mean when they end: pure
tls.py        contexts, sessions, and OpenSSL's complaints translated
dial.py       a connection to the first of several addresses that takes one; dialling.py: all that are being made
link.py       a connection: what can be sent and received without waiting; pool.py: those that wait
carrier.py    requests on their way, by what their sockets say
"""
