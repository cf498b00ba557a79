"""Reads the state of the schema registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consumers.kafka.schema_registry import RegistryState, SchemaRegistry


@dataclass(frozen=True, slots=True)
class RegistryReading:
    """The state of a registry, and our clock before and after the request, in Unix ms."""

    state: RegistryState
    before_ms: int
    after_ms: int


def read_registry(url: str, clock: Callable[[], int]) -> RegistryReading:
    """Return the state of the registry at a URL; Unavailable if nothing responds."""
    registry = SchemaRegistry(url)
    try:
        before_ms = clock()
        return RegistryReading(registry.state(), before_ms, clock())
    finally:
        registry.close()
