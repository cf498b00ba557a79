"""Whether this process runs compiled modules (`make compiled`)."""

from __future__ import annotations

from schemas import avro_binary


def is_compiled() -> bool:
    """Tell whether the hot modules are C."""
    return not (avro_binary.__file__ or "").endswith(".py")
