"""Readers: each reads one part of an installation, or a service, for the checks. All calls block."""
