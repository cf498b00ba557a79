"""Subscriptions: their records, their rules, and the sealing of their secrets."""
