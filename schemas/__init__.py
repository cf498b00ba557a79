"""Types, rules and records that both sides share. No broker, no network, no clock."""
