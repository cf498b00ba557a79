"""Whether this process runs compiled modules (a wheel built with SIGNPOST_MYPYC=1)."""

from __future__ import annotations

from schemas.avro import binary as avro_binary


def is_compiled() -> bool:
    """Return whether the hot modules are compiled to C."""
    return not (avro_binary.__file__ or "").endswith(".py")
