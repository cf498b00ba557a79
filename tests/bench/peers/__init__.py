"""Delivery next to other programs: `make bench-peers`. Needs Java 17 and Maven; uses Bento if it is installed."""
