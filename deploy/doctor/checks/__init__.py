"""Checks: each gets what was read, and returns findings. No check reads anything."""
