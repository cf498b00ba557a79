"""Clock, sleep and randomness for the writers of compacted topics. Tests replace them."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Environment:
    """Clock, sleep and randomness. `clock` is in Unix seconds, `random` returns that many bytes."""

    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = field(default=random.SystemRandom().uniform)
    random: Callable[[int], bytes] = os.urandom
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)
