"""API keys: their writer, the table that authenticates requests, rate limits, last uses."""
