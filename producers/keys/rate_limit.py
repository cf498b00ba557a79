"""Rate limit of API keys: a token bucket per key, which holds one second's worth of requests. Pure.

The algorithm is GCRA (the generic cell rate algorithm): the bucket is one number, the time at which it is full again.
A request moves it by 1/rate. Requests are refused while it is further ahead than the burst. Refused ones do not count.
"""

from __future__ import annotations

from typing import Final

# Full buckets are forgotten when there are this many buckets, or twice as many as were not full.
_LEAST_PRUNED: Final = 1_024
# Sums of 1/rate may be off by some ulps. This must cost neither the last request of a burst nor one after its wait.
_ROUNDING_S: Final = 1e-6


class RateLimiter:
    """Limits requests to `per_second` for each key; 0: no limit. Times are monotonic seconds.

    A rate below one lets one request through at a time.
    """

    def __init__(self, per_second: float) -> None:
        self._interval_s = 1.0 / per_second if per_second > 0 else 0.0
        self._tolerance_s = max(0.0, 1.0 - self._interval_s) + _ROUNDING_S
        self._full_at_s: dict[str, float] = {}
        self._prune_at = _LEAST_PRUNED

    def wait_s(self, key_id: str, now_s: float) -> float:
        """Count a request and return 0.0, or return the seconds after which it would be allowed."""
        if self._interval_s == 0.0:
            return 0.0
        full_at_s = max(self._full_at_s.get(key_id, now_s), now_s)
        ahead_s = full_at_s - now_s
        if ahead_s > self._tolerance_s:
            return ahead_s - self._tolerance_s + _ROUNDING_S
        self._full_at_s[key_id] = full_at_s + self._interval_s
        if len(self._full_at_s) >= self._prune_at:
            self._prune(now_s)
        return 0.0

    def _prune(self, now_s: float) -> None:
        """Forget full buckets: a missing one is full."""
        self._full_at_s = {key_id: at_s for key_id, at_s in self._full_at_s.items() if at_s > now_s}
        self._prune_at = max(_LEAST_PRUNED, 2 * len(self._full_at_s))
