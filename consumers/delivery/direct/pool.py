"""Connections that wait for their next request: that used last goes first, that idle longest is given up first."""

from __future__ import annotations

from collections.abc import Iterable

from consumers.delivery.direct.link import Key, Link


class Pool:
    """Idle connections by what they lead to."""

    def __init__(self) -> None:
        self._by_key: dict[Key, list[Link]] = {}
        self._oldest: dict[Link, None] = {}  # in the order in which they became idle

    def take(self, key: Key) -> Link | None:
        """Take the connection to there that was used last."""
        links = self._by_key.get(key)
        if links is None:
            return None
        link = links.pop()
        del self._oldest[link]
        if not links:
            del self._by_key[key]
        return link

    def put(self, link: Link) -> None:
        """Keep a connection for the next request to where it leads."""
        links = self._by_key.get(link.key)
        if links is None:
            self._by_key[link.key] = [link]
        else:
            links.append(link)
        self._oldest[link] = None

    def remove(self, link: Link) -> None:
        """Take a connection out, wherever it stands."""
        del self._oldest[link]
        links = self._by_key[link.key]
        links.remove(link)
        if not links:
            del self._by_key[link.key]

    def evict(self) -> Link | None:
        """Take out the one that has been idle longest; None if there is none."""
        link = next(iter(self._oldest), None)
        if link is not None:
            self.remove(link)
        return link

    def stale(self, now: float) -> Iterable[Link]:
        """Take out those that are too old."""
        for link in [link for link in self._oldest if link.is_stale(now)]:
            self.remove(link)
            yield link
