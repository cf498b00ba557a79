"""Subscriptions: their records, the rules that they obey, and how their secrets are sealed."""
