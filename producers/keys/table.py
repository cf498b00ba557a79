"""The API keys of an API process in memory. It follows the topic `api-keys` and authenticates requests.

Bounded staleness: the table requests the ends of the topic every 200 ms and reads up to them, so a revocation counts
within a second. If no such reading has succeeded for 5 s, the table authenticates nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from producers.keys.log import KeyLog
from schemas.catalog.errors import Unavailable
from schemas.keys.hashing import KeyHasher
from schemas.keys.text import parse_key
from schemas.records.api_key import ApiKey
from schemas.records.topics import TopicNames

VERIFY_EVERY_S: Final = 0.2
MAX_STALE_S: Final = 5.0
# The broker responds earlier if there is a record.
_FETCH_WAIT_MS: Final = 100


class KeyTable:
    """One thread calls `read` and then `follow`; any thread may call `authenticate` meanwhile (see KeyLog)."""

    def __init__(
        self,
        kafka: Mapping[str, str],
        names: TopicNames,
        hasher: KeyHasher,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = KeyLog(kafka, names, fetch_wait_ms=_FETCH_WAIT_MS)
        self._hasher = hasher
        self._monotonic = monotonic
        self._verified_s: float | None = None

    def read(self) -> None:
        """Read up to the current end of the topic; Unavailable if that fails."""
        requested_s = self._monotonic()
        self._log.compacted.read()
        self._verified_s = requested_s

    def follow(self, wait_s: float) -> None:
        """Read new records for at most about `wait_s`; Unavailable if the broker does not respond: call it again."""
        self._log.compacted.follow(wait_s)
        if self._verified_s is None or self._monotonic() - self._verified_s >= VERIFY_EVERY_S:
            self.read()

    @property
    def is_current(self) -> bool:
        """Whether the table is fresh enough to authenticate."""
        return self._verified_s is not None and self._monotonic() - self._verified_s <= MAX_STALE_S

    def authenticate(self, text: str, now_ms: int) -> ApiKey | None:
        """Return the active key that a text is; None if it is unknown, malformed, revoked or expired.

        Unavailable if the table is not current: a revocation may be unread. The work is the same for a known and an
        unknown id.
        """
        if not self.is_current:
            raise Unavailable(f"{self._log.topic} could not be read for {MAX_STALE_S:g} s: no API key can be checked")
        given = parse_key(text)
        if given is None:
            return None
        found = self._log.get(given.id)
        key = found if isinstance(found, ApiKey) else None
        if not self._hasher.matches(key, given) or key is None or key.state(now_ms) != "active":
            return None
        return key

    def close(self) -> None:
        """Close the connections to the broker."""
        self._log.compacted.close()
