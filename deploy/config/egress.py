"""The rules for URLs and addresses, from the settings."""

from __future__ import annotations

from schemas.network.egress import EgressPolicy
from schemas.settings.settings import Settings


def egress_policy_of(settings: Settings) -> EgressPolicy:
    """Return the rules for URLs and addresses of endpoints."""
    return EgressPolicy(settings.allow_http, settings.allow_cidrs, frozenset(settings.allow_ports))
